"Reads the package's metadata from settings.ini, and its version from digitfast/__init__.py."
from configparser import ConfigParser
from pathlib import Path
import re
from setuptools import find_packages, setup

here = Path(__file__).parent
cfg = ConfigParser(delimiters=['=']); cfg.read(here/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
version = re.search(r'__version__ = "(.+)"', (here/'digitfast/__init__.py').read_text(encoding='utf-8'))[1]
extras = {k.removesuffix('_requirements'):v.split() for k,v in cfg.items() if k.endswith('_requirements')}

setup(
    version=version, description=cfg['description'], author=cfg['author'], license=cfg['license'],
    keywords=cfg['keywords'].split(), python_requires=f">={cfg['min_python']}",
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    packages=find_packages(include=['digitfast', 'digitfast.*']), package_data={'digitfast': ['sample/*', 'pages/*']},
    install_requires=cfg['requirements'].split(), extras_require=extras,
    entry_points=dict(console_scripts=[cfg['console_scripts']], nbdev=['digitfast=digitfast._modidx:d']),
    classifiers=['Programming Language :: Python :: 3', 'Intended Audience :: Developers',
                 'Intended Audience :: Education'])
