"Run the README's commands in order in one folder, like a reader who follows it"
import re, shlex
from pathlib import Path
import pytest
from conftest import REPO, command

FASTER = {'train':['--epochs','1'], 'ensemble':['--members','2']} # words to add to a line that has the word

def blocks():
    "Return the lines of each block of shell commands"
    text = (REPO/'README.md').read_text(encoding='utf-8')
    return [m[1].strip().splitlines() for m in re.finditer(r'```sh\n(.*?)```', text, re.S)]

def lines():
    "Return the words of each `digitfast` command, without the blocks that install or activate"
    found = [o for b in blocks() for o in b if o.startswith('digitfast ')]
    return [shlex.split(o, comments=True)[1:] for o in found]

def test_the_first_two_blocks_install_and_the_third_activates():
    first,second,third = (o for b in blocks()[:3] for o in b)
    assert first.endswith('digitfast train sample') and second.endswith('-m pytest') and 'activate' in third

def test_the_commands_run_in_order(tmp_path, monkeypatch):
    "Without data on disk they train on the sample. Without credentials nothing is submitted, and the message says why"
    monkeypatch.chdir(tmp_path)
    (tmp_path/'nbs').symlink_to(REPO/'nbs')
    home = dict(HOME=str(tmp_path/'home'), KAGGLE_API_TOKEN='', KAGGLE_USERNAME='', KAGGLE_KEY='')
    done = []
    for words in lines():
        if words[0]=='compare': continue # minutes, and the benchmarks' own
        if {'DATA','RUN'}&{*words}: continue
        more = [w for k,ws in FASTER.items() if k in words for w in ws]
        p = command(*words, *more, env=home)
        out,err = p.communicate(timeout=600)
        if words[0]=='submit': assert p.returncode==1 and 'no Kaggle credentials' in err, (words, err)
        else: assert p.returncode==0, (words, out, err)
        done.append(words[0])
    assert done==['train']*4+['runs','share','check','submit','publish']
    assert Path('runs/first/submission.csv').exists() and Path('kernel/kernel/kernel.ipynb').exists()
