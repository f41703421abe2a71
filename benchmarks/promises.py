"""Run what proves the README's promises, quick tests and slow ones, and count: `python benchmarks/promises.py`

The slow ones take the better part of an hour on two cores. A case is one point to be killed at, one generated file, one
wrong test set; a test that doesn't count its own is one."""
from _common import others, parse, parser, save
import re, subprocess, sys, tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
import pandas as pd

# promise, then the tests that prove it: files in `tests/`, those of their tests whose name has the pattern
promises = {
    '**A killed run resumes**, an ensemble too, to the same submission, byte for byte, on a CPU; Ctrl-C and '
    'SIGTERM end it cleanly and say how to go on':
        dict(test_faults='killed|signal', test_run='resum|interrupt|killed',
             test_ensemble='interrupted|finished_member|worker',
             test_resume='resume|advice|advise|enough|contradict|checkpoint|object|command|member|interrupted|killed'),
    '**What is on disk is whole**: written aside, synced, renamed; a disk that is full, read-only, broken or '
    'forbidden, and a folder that vanishes, end it in one line, the checkpoint intact':
        dict(test_faults='refused|vanish|limit|read_only', test_run='vanish|read_only|leaves_nothing|cannot',
             test_export='write|disk|written', test_outputs=''),
    '**Two at once do not mix**: the second is told who holds the folder':
        dict(test_faults='at_once', test_run='at_once|lock|another_process', test_resume='lost|another|owner|removed'),
    '**A model is data**: loading a run executes nothing from it, and what is damaged, hostile or newer is refused':
        dict(test_export='pickle_is|json|weights|bits|header|memory|none|no_model|control',
             test_run='hostile|no_run|are_none', test_ensemble='damaged'),
    '**Any CSV gives an answer or a reason**, never a silent cast, in bounded time and memory':
        dict(test_read='', test_read_fuzz='', test_load='refused|honest'),
    '**Wrong predictions do not leave the house**: validation rows fly with the test set as canaries, `check` '
    'refuses what Kaggle would, and a test set that looks unlike the training set is warned of':
        dict(test_submit='', test_unlike='', test_traps='canary|predictions_of', test_run='canary|identical|seen_in'),
    '**Training that goes wrong says so**: a loss that is no number stops it, one class for all is warned of':
        dict(test_run='no_number|one_class'),
    '**Reports are safe to open**: names from strangers stay text, nothing is loaded':
        dict(test_report='strangers|whole_small|can_run_nothing'),
    '**Load**: a thousand calls of `predict` do not grow memory; '
    'a million rows take their pixels once and at most 1 GiB':
        dict(test_load='predict|blocks'),
    '**Honest numbers**: no validation row is trained on, images on both sides of the split are left out, the '
    'printed interval is for the *test* score':
        dict(test_traps='sides|validated', test_run='intervals|score|identical|seen_in',
             test_ensemble='unseen|folds|no_row', test_measure=''),
    '**Your own Learner is a run**: nets, losses, transforms, callbacks and folds of your own are measured, compared, '
    'joined and submitted as a recipe is; what it was trained on is known or refused':
        dict(test_save_run='', test_doors='', test_attacks='net|registered|import|options|drop',
             test_tutorials='thirty'),
    '**Any table of digits is read in one way, or one question asked**: other names, separators, sides, packings, '
    'ids and labels as they are, and photos of one digit or several':
        dict(test_layouts='', test_pictures='', test_image='', test_ink='', test_cli='read_alike|no_meaning'),
    "**A stranger's run is read, never trusted**: plain files of bounded size, each field of its kind; what is "
    'damaged is said to be':
        dict(test_rundir='', test_run_fuzz='', test_attacks='field|threads|changed|once|leave|overwrite|show_nothing'),
    '**Nothing leaves or shows that was not meant to**: no link is followed, no secret sent, no escape sequence '
    'reaches a terminal or a page':
        dict(test_kaggle='link|secret|token|picture', test_core='', test_cli='escape|without_a_home|no_file_has'),
}

def outcomes(xml):
    "{(file, test): (cases, failed, skipped)} from pytest's JUnit file"
    res = {}
    for t in ET.parse(xml).iter('testcase'):
        n = sum(int(p.get('value')) for p in t.iter('property') if p.get('name')=='cases') or 1
        bad,skipped = t.find('failure') is not None or t.find('error') is not None,t.find('skipped') is not None
        res[t.get('classname').split('.')[-1],t.get('name')] = n,bad,skipped
    return res

if __name__=='__main__':
    p = parser(__doc__, data=False)
    p.add_argument('--quick', action='store_true', help='without the slow tests; prints, and saves nothing')
    p.add_argument('--only', metavar='WORD', action='append', help='the promises with this word; repeat it for more')
    p.add_argument('--add', action='store_true', help='with --only: save them, and leave the others as they were')
    p.set_defaults(threads=1) # as conftest.py has it, whatever is said here
    args = parse(p)
    promises = {k:v for k,v in promises.items() if not args.only or any(o.lower() in k.lower() for o in args.only)}
    repo,files = Path(__file__).resolve().parent.parent,sorted({f for o in promises.values() for f in o})
    with tempfile.TemporaryDirectory() as d:
        tests = repo/'tests'
        which = ['-m','not slow'] if args.quick else ['-o','addopts=']
        paths = [str(next(tests.rglob(f'{f}.py'))) for f in files]
        words = '-m', 'pytest', *which, '-q', f'--junitxml={d}/o.xml', *paths
        subprocess.run([sys.executable, *words], cwd=repo)
        done = outcomes(f'{d}/o.xml')
    rows = []
    for promise,proof in promises.items():
        mine = [v for (f,name),v in done.items() if f in proof and re.search(proof[f], name)]
        if not mine: sys.exit(f'no test proves: {promise}')
        cases,failed,skipped = (sum(o) for o in zip(*((0 if s else n, f, s) for n,f,s in mine)))
        tests = ' '.join(f'{f}.py' for f in proof)
        rows.append(dict(promise=promise, tests=tests, cases=cases, failures=failed, skipped=skipped))
    df = pd.DataFrame(rows)
    if args.quick or args.only and not args.add:
        print(df.assign(promise=df.promise.str[:40]).to_string(index=False))
    else: save('promises', rows, args, keep=others('promises', args, 'promise', df.promise.tolist()))
    sys.exit(any(f for _,f,_ in done.values()))
