"""Run the quick and slow tests of the promises, and count their cases: `python benchmarks/promises.py`

The slow tests take almost an hour on two cores. A case is, for example, one moment at which a run is killed, one
generated file or one wrong test set. A test that does not count its cases counts as one."""
from _common import others, parse, parser, save
import re, subprocess, sys, tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
import pandas as pd

# {promise: {file in `tests/`: pattern of the names of its tests}}
promises = {
    '**A killed run resumes**, an ensemble too, and gives the same submission, byte for byte, on a CPU; Ctrl-C '
    'and SIGTERM end it cleanly, and a message gives the command that resumes it':
        dict(test_faults='killed|signal', test_run='resum|interrupt|killed',
             test_ensemble='interrupted|finished_member|worker',
             test_resume='resume|advice|advise|enough|contradict|checkpoint|object|command|member|interrupted|killed'),
    '**Files on disk are complete**: they are written under another name, flushed and renamed; if a disk is full, '
    'read-only or broken, or if a folder vanishes, the run ends with one line and an intact checkpoint':
        dict(test_faults='refused|vanish|limit|read_only', test_run='vanish|read_only|leaves_nothing|cannot',
             test_export='write|disk|written', test_outputs=''),
    '**Two runs never mix**: the second run raises an error that names the process that uses the folder':
        dict(test_faults='at_once', test_run='at_once|lock|another_process', test_resume='lost|another|owner|removed'),
    '**A model is data**: loading a run executes no code from it; damaged, hostile and newer files raise an error':
        dict(test_export='pickle_is|json|weights|bits|header|memory|none|no_model|control',
             test_run='hostile|no_run|are_none', test_ensemble='damaged'),
    '**Any CSV is read or raises an error with the reason**, without silent casts, in bounded time and memory':
        dict(test_read='', test_read_fuzz='', test_load='refused|honest'),
    '**Wrong predictions are detected before they are submitted**: labelled control rows go through the test path '
    'and must get the same predictions; `check` reports what Kaggle would reject; a warning appears if the test '
    'set differs from the training set':
        dict(test_submit='', test_unlike='', test_traps='control_rows|predictions_of',
             test_run='control_rows|identical|seen_in'),
    '**Failed training is reported**: a loss of NaN stops it, and a warning appears if all predictions are one '
    'class':
        dict(test_run='no_number|one_class'),
    '**Reports are safe to open**: names from other people stay text, and nothing is loaded':
        dict(test_report='strangers|whole_small|can_run_nothing'),
    '**Load**: memory does not grow over a thousand calls of `predict`; a million rows need memory for their '
    'pixels once plus at most 1 GiB':
        dict(test_load='predict|blocks'),
    '**Honest numbers**: no validation row is trained on, images on both sides of the split are not measured, and '
    'the printed interval is for the *test* score':
        dict(test_traps='sides|validated', test_run='intervals|score|identical|seen_in',
             test_ensemble='unseen|folds|no_row', test_measure=''),
    '**Your own Learner can become a run**: your own nets, losses, transforms, callbacks and folds are measured, '
    'compared, joined and submitted like a recipe; if the training set is unknown, an error says so':
        dict(test_save_run='', test_doors='', test_attacks='net|registered|import|options|drop',
             test_tutorials='thirty'),
    '**Any table of digits is read in one way, or an error asks one question**: other names, separators, sizes, '
    'number formats, ids and labels, and photos of one digit or several':
        dict(test_layouts='', test_pictures='', test_image='', test_ink='', test_cli='read_alike|no_meaning'),
    '**A run from a stranger is read, but not trusted**: only plain files of bounded size are read, each field is '
    'checked, and damaged files raise an error':
        dict(test_rundir='', test_run_fuzz='', test_attacks='field|threads|changed|once|leave|overwrite|show_nothing'),
    '**Nothing private leaves the machine**: no link is followed, no secret is sent, and no escape sequence '
    'reaches a terminal or a page':
        dict(test_kaggle='link|secret|token|picture', test_core='', test_cli='escape|without_a_home|no_file_has'),
}

def outcomes(xml):
    "Return {(file, test): (cases, failed, skipped)} from pytest's JUnit file"
    res = {}
    for t in ET.parse(xml).iter('testcase'):
        n = sum(int(p.get('value')) for p in t.iter('property') if p.get('name')=='cases') or 1
        bad,skipped = t.find('failure') is not None or t.find('error') is not None,t.find('skipped') is not None
        res[t.get('classname').split('.')[-1],t.get('name')] = n,bad,skipped
    return res

if __name__=='__main__':
    p = parser(__doc__, data=False)
    p.add_argument('--quick', action='store_true', help='without the slow tests; print the results and save nothing')
    p.add_argument('--only', metavar='WORD', action='append', help='only promises with this word; repeat it for more')
    p.add_argument('--add', action='store_true', help='with --only: save these results and keep the others')
    p.set_defaults(threads=1) # as in conftest.py, whatever the option
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
        if not mine: sys.exit(f'there is no test of: {promise}')
        cases,failed,skipped = (sum(o) for o in zip(*((0 if s else n, f, s) for n,f,s in mine)))
        tests = ' '.join(f'{f}.py' for f in proof)
        rows.append(dict(promise=promise, tests=tests, cases=cases, failures=failed, skipped=skipped))
    df = pd.DataFrame(rows)
    if args.quick or args.only and not args.add:
        print(df.assign(promise=df.promise.str[:40]).to_string(index=False))
    else: save('promises', rows, args, keep=others('promises', args, 'promise', df.promise.tolist()))
    sys.exit(any(f for _,f,_ in done.values()))
