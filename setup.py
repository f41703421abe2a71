"Reads the package's metadata from settings.ini, and its version from digitfast/__init__.py."
from configparser import ConfigParser
from pathlib import Path
import re, shutil
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py as _build_py

here = Path(__file__).parent
cfg = ConfigParser(delimiters=['=']); cfg.read(here/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
version = re.search(r'__version__ = "(.+)"', (here/'digitfast/__init__.py').read_text(encoding='utf-8'))[1]
extras = {k.removesuffix('_requirements'):v.split() for k,v in cfg.items() if k.endswith('_requirements')}

class build_py(_build_py):
    "Put the tutorials into the package that is built, where `digitfast course` finds them"
    def run(self):
        super().run()
        if self.editable_mode: return # the package beside nbs/tutorials is the one that is used
        folder = Path(self.build_lib)/'digitfast/course_files'
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for o in sorted((here/'nbs/tutorials').glob('*')):
            if o.suffix in ('.ipynb','.md','.png'): shutil.copyfile(o, folder/o.name)

tested = '3.11','3.12','3.13' # .ci/run tests the first, and trains with one of the others

setup(
    version=version, description=cfg['description'], author=cfg['author'], license=cfg['license'],
    keywords=cfg['keywords'].split(), python_requires=f">={cfg['min_python']}",
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    cmdclass=dict(build_py=build_py),
    packages=find_packages(include=['digitfast', 'digitfast.*']), package_data={'digitfast': ['sample/*', 'pages/*']},
    include_package_data=False,
    install_requires=cfg['requirements'].split(), extras_require=extras,
    entry_points=dict(console_scripts=[cfg['console_scripts']], nbdev=['digitfast=digitfast._modidx:d']),
    classifiers=['Programming Language :: Python :: 3', *(f'Programming Language :: Python :: {o}' for o in tested),
                 'Intended Audience :: Developers',
                 'Intended Audience :: Education'])
