"""Tests of the page about clusters: its scripts are valid, its commands exist, and they do what the page says, with
stubs"""
import os, re, shlex, subprocess, sys, types
import pytest
from digitfast.cli import main
from digitfast.runs.run import read_metrics
from conftest import REPO

BLOCKS = re.findall(r'^```(\w+)\n(.*?)^```', (REPO/'docs/clusters.md').read_text(encoding='utf-8'), re.M|re.S)
BASH = [o for kind,o in BLOCKS if kind=='bash']
ARRAY,SUBMIT = BASH[-2:]

RECORD = 'printf "%q " "$(basename "$0")" "$@" >>"$CALLS"; echo >>"$CALLS"\n'
SBATCH = r'''
for o in "$@"; do
  case "$o" in
    --parsable|--dependency=afterok:7|--wrap) ;;
    *.sh) range=$(sed -n 's/^#SBATCH --array=//p' "$o")
          export SLURM_CPUS_PER_TASK=4
          for k in $(seq ${range%-*} ${range#*-}); do SLURM_ARRAY_TASK_ID=$k bash "$o" || exit 1; done;;
    digitfast*) bash -c "$o";;
    *) echo "unknown: $o" >&2; exit 2;;
  esac
done
echo 7
'''

@pytest.fixture
def shell(tmp_path, monkeypatch):
    """Return a function that runs a script with stubs of dask, digitfast and sbatch, and returns the calls and the
    output"""
    (tmp_path/'bin').mkdir()
    monkeypatch.chdir(tmp_path)
    for name,code in dict(dask=RECORD, digitfast=RECORD, sbatch=SBATCH).items():
        (tmp_path/'bin'/name).write_text('#!/bin/bash\n'+code)
        (tmp_path/'bin'/name).chmod(0o755)
    calls = tmp_path/'calls'
    def run(script, **env):
        calls.write_text('')
        env = {**os.environ, 'PATH':f"{tmp_path/'bin'}{os.pathsep}{os.environ['PATH']}", 'CALLS':str(calls), **env}
        r = subprocess.run(['bash','-c',script], capture_output=True, text=True, timeout=60, env=env)
        assert r.returncode==0 and r.stderr=='', r.stderr
        return [shlex.split(o) for o in calls.read_text().splitlines()],r.stdout.strip()
    return run

@pytest.mark.parametrize('i', range(len(BASH)))
def test_scripts_are_shell(i):
    r = subprocess.run(['bash','-n'], input=BASH[i], capture_output=True, text=True)
    assert r.returncode==0 and r.stderr=='', r.stderr

def test_commands_and_their_options_exist(shell):
    import typer
    from digitfast.cli import app
    cli = pytest.importorskip('distributed.cli', reason="needs digitfast[distributed]")
    from distributed.cli import dask_scheduler, dask_worker
    known = dict(scheduler=dask_scheduler.main, worker=dask_worker.main, **typer.main.get_command(app).commands)
    seen = []
    for script in BASH[:-2]: seen += shell(script)[0]
    for program,command,*words in seen:
        options = {o for p in known[command].params for o in p.opts}
        assert not [o for o in words if o.startswith('-') and o not in options], (program, command, words)
    assert cli and [o[1] for o in seen]==['scheduler','worker','worker','worker','train','train','train']
    assert 'DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT=' in shell(BASH[5]+'env')[1]

def run_all(calls, tiny):
    small = ['--arch','stride2','--epochs','1','--bs','16','--valid-pct','.2','--quiet']
    for _,*words in calls:
        if '--recipe' in words: words[(i := words.index('--recipe')):i+2] = small
        try: main([str(tiny) if o=='digit-recognizer.zip' else o for o in words])
        except SystemExit as e: assert not e.code

def test_an_array_and_its_ensemble(shell, tiny, tmp_path):
    "If it is submitted again, the array skips finished members"
    (tmp_path/'members.sh').write_text(ARRAY.replace('array=0-7', 'array=0-1').replace('--members 8', '--members 2'))
    first,second = SUBMIT.splitlines()
    calls,out = shell(first+'\necho $array')
    assert out=='7' and [o[o.index('--member')+1] for o in calls]==['0','1']
    run_all(calls[:1], tiny)
    again,_ = shell(first)
    assert again==calls[1:]
    run_all(again, tiny)
    calls,_ = shell(second, array='7')
    run_all(calls, tiny)
    assert read_metrics(tmp_path/'runs'/'joined')['members']==2

def test_jobqueue(tiny, tmp_path, monkeypatch, cluster):
    "Run the Python of the page with a cluster of local processes in place of SLURM's"
    class SLURMCluster:
        scheduler_address = cluster.address
        def __init__(self, queue, cores, processes, memory, walltime, job_extra_directives): pass
        def __enter__(self): return self
        def __exit__(self, *args): cluster.stop()
        def scale(self, jobs): cluster.worker('worker')
        def wait_for_workers(self, n): cluster.wait(n)
    monkeypatch.setitem(sys.modules, 'dask_jobqueue', types.SimpleNamespace(SLURMCluster=SLURMCluster))
    monkeypatch.chdir(tmp_path)
    code, = [o for kind,o in BLOCKS if kind=='python']
    small = f"{str(tiny)!r}, arch='stride2', epochs=1, bs=16, valid_pct=.2, members=2, say=lambda o: None"
    names = {}
    exec(code.replace("'digit-recognizer.zip', 'single', members=8", small), names)
    assert names['run'].metrics['members']==2 and names['run'].name=='eight'
