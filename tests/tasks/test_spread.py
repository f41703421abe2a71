"""Tests of `spread_jobs`: jobs here and on a Dask cluster of forked processes, workers and schedulers that die, TLS,
and versions"""
import os, signal, sys, threading, time
import pandas as pd, pytest
from digitfast.core import DigitError, RunError, as_command, spell
from digitfast.learn import plugins
from digitfast.tasks import spread as S
from digitfast.tasks.compare import compare
from digitfast.tasks.spread import check_address, spread_jobs
from digitfast.tasks.train import train
from conftest import TINY, Cluster, csvs, free_port

distributed = pytest.importorskip('distributed', reason="needs digitfast[distributed]")

@pytest.fixture(autouse=True)
def often(monkeypatch): monkeypatch.setattr(S._Driver, 'poll', .05) # look at the workers often: jobs are short here

def quiet(*a): pass

# ---- jobs, answers and errors, here and there

def steps(job, shared, report):
    "Report up to three numbers; job 3 raises an error that names an option"
    done = []
    while len(done)<3 and not (done and done[-1]): done.append(report(len(done)))
    if job==3: raise DigitError(f"use {spell('label', 'NAME')}")
    return shared*job,done

def asked(address):
    kept,failed,drawn = {},{},[]
    def jobs():
        for k in range(5):
            drawn.append((k, len(kept)+len(failed)))
            yield k
    spread_jobs(steps, jobs(), 10, kept.__setitem__, address, 'cpu', fail=lambda job,e: failed.update({job:str(e)}),
           answer=lambda job,value: job==1 and value==1)
    assert all(finished>=k-1 for k,finished in drawn), drawn # a job is drawn when a worker is free: here there is one
    return kept,failed

def test_a_cluster_does_what_this_process_does(cluster):
    cluster.worker('a')
    want = {0:(0, [False]*3), 1:(10, [False,True]), 2:(20, [False]*3), 4:(40, [False]*3)},{3:'use label=NAME'}
    assert asked(None)==asked(cluster.address)==want
    with as_command(): assert asked(cluster.address)[1]=={3:'use --label NAME'} # as the driver's reader knows it
    with pytest.raises(DigitError, match='^use label=NAME$'):
        spread_jobs(steps, [3], 1, address=cluster.address, answer=lambda *a: False)

def test_what_cannot_be_sent_is_named(cluster):
    with pytest.raises(DigitError, match="the jobs can't be sent to workers.*lock.*Leave out"):
        spread_jobs(steps, [1], threading.Lock(), address=cluster.address)

def test_a_file_may_change_between_two_trainings(cluster, tmp_path):
    "The workers run the new file, although they have imported the old one"
    cluster.worker('a')
    def f(job, shared):
        import my_plugin
        return my_plugin.value
    for value in 1,2:
        (tmp_path/'my_plugin.py').write_text(f'value = {value}')
        plugins.imported.clear()
        sys.modules.pop('my_plugin', None)
        plugins.import_file(tmp_path/'my_plugin.py')
        res = {}
        spread_jobs(f, [0], None, res.__setitem__, cluster.address)
        assert res=={0:value}

# ---- what dies

def test_a_scheduler_that_dies(cluster, capfd):
    "The error is one line, and finished jobs are kept"
    cluster.worker('a')
    def f(job, shared): time.sleep(.2)
    kept = {}
    def keep(job, result):
        kept[job] = result
        os.kill(cluster.scheduler, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(RunError, match='connection to the Dask scheduler was lost.*and continue$') as e:
        spread_jobs(f, range(3), None, keep, cluster.address, then='continue')
    assert kept=={0:None} and time.monotonic()-start<30 and '\n' not in str(e.value)
    assert capfd.readouterr().err==''

def test_a_job_whose_worker_dies_is_done_again_by_another(cluster):
    for o in 'ab': cluster.worker(o)
    cluster.wait(2)
    def f(job, shared, report):
        if report(None): os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()
    lines,kept,kills = [],{},[]
    def answer(job, value):
        "Return whether the job should die: the first attempt of job 1 should"
        if job==1: kills.append(job)
        return job==1 and len(kills)==1
    spread_jobs(f, range(4), None, kept.__setitem__, cluster.address, say=lines.append, answer=answer,
                name='job {}'.format)
    assert sorted(kept)==[0,1,2,3] and len(set(kept.values()))==1 and len(kills)==2
    assert any(o.endswith('is gone: job 1 will be done again') for o in lines), lines

def test_a_job_that_kills_its_workers_fails_alone(tmp_path):
    cluster = Cluster(tmp_path, {'distributed.scheduler.allowed-failures':0})
    try:
        for o in 'ab': cluster.worker(o)
        cluster.wait(2)
        def f(job, shared):
            if job=='bad': os.kill(os.getpid(), signal.SIGKILL)
        kept,failed = {},{}
        spread_jobs(f, ['bad',0,1], None, kept.__setitem__, cluster.address, fail=failed.__setitem__)
        assert sorted(kept)==[0,1] and str(failed.pop('bad')).startswith('bad failed because') and not failed
    finally: cluster.stop()

def test_a_cluster_without_workers(cluster, monkeypatch):
    monkeypatch.setattr(S._Driver, 'patience', .2)
    with pytest.raises(RunError, match=r'no workers for a minute.*dask worker tcp://127.*and continue$'):
        spread_jobs(steps, [1], address=cluster.address, then='continue')

# ---- who may take part

def test_another_digitfast_raises_an_error_and_another_torch_is_noted(cluster):
    import digitfast, torch
    def older(): digitfast.__version__ = '0.0.1'
    def other(): torch.__version__ = '1.0'
    lines,kept = [],{}
    cluster.worker('a', other)
    spread_jobs(steps, [1], 1, kept.__setitem__, cluster.address, answer=quiet, say=lines.append)
    assert sorted(kept)==[1] and any('has torch 1.0, and this process' in o for o in lines), lines
    cluster.worker('b', older)
    with pytest.raises(RunError, match=r'found digitfast 0\.0\.1, expected .* as on this machine'):
        spread_jobs(steps, [1]*500, 1, address=cluster.address, answer=quiet) # as soon as it is there

def test_tls(tmp_path):
    pytest.importorskip('cryptography')
    from distributed.security import Security
    import dask
    keys = Security.temporary()
    for k in 'ca_file','client_cert','client_key': (tmp_path/k).write_text(getattr(keys, f'tls_{k}'))
    tls = {**dask.config.get('distributed.comm.tls'), 'ca-file':str(tmp_path/'ca_file')}
    tls['client'] = dict(cert=str(tmp_path/'client_cert'), key=str(tmp_path/'client_key'))
    cluster = Cluster(tmp_path, protocol='tls', security=keys)
    try:
        cluster.worker('a')
        kept = {}
        with dask.config.set({'distributed.comm.tls':tls}):
            spread_jobs(steps, [2], 1, kept.__setitem__, cluster.address, answer=quiet)
        assert sorted(kept)==[2]
        gone = {**tls, 'ca-file':str(tmp_path/'gone')}
        with dask.config.set({'distributed.comm.tls':gone}), pytest.raises(DigitError, match="can't be read: No such"):
            check_address(cluster.address)
    finally: cluster.stop()

def test_tls_without_certificates_is_named(tiny, tmp_path):
    with pytest.raises(DigitError, match=r'tls://127.0.0.1:9: tls:// needs certificates.*Use tcp://127.0.0.1:9'):
        train(tiny, out=tmp_path/'run', members=2, scheduler='tls://127.0.0.1:9', say=quiet, **TINY)
    assert not (tmp_path/'run').exists()

def test_no_scheduler_is_reported(tiny, tmp_path, monkeypatch):
    def client(*args, timeout, old=distributed.Client, **kw): return old(*args, timeout='1s', **kw)
    monkeypatch.setattr(distributed, 'Client', client)
    with pytest.raises(RunError, match=r'found no answer.*Check the address.*Then resume .*train\(scheduler'):
        train(tiny, out=tmp_path/'run', members=2, scheduler=f'127.0.0.1:{free_port()}', say=quiet, **TINY)

def test_each_gpu_gets_its_jobs(monkeypatch, tmp_path):
    monkeypatch.setattr(S, 'count_gpus', lambda device='auto': 2)
    def which_gpu(k, seen): # a worker gets it by value, and need not import this file
        "Return the GPU of this job, after the other job has one, too"
        import os, time
        gpu = os.environ.get('CUDA_VISIBLE_DEVICES')
        (seen/str(gpu)).touch()
        for _ in range(600):
            if len(list(seen.iterdir()))>1: break
            time.sleep(.1)
        return gpu
    res = {}
    spread_jobs(which_gpu, range(4), tmp_path, res.__setitem__)
    assert sorted(res)==[0,1,2,3] and set(res.values())=={'0','1'}

# ---- who uses it

def test_compare(cluster, tmp_path):
    "The results are those of this process, in the order of the systems, although the jobs end in another order"
    folder,lines = csvs(tmp_path/'tiny', n=120),[]
    kw = dict(systems=['linear-softmax','mlp-100'], seeds=2, epochs=1, device='cpu')
    here = compare(folder, say=quiet, **kw) # before the workers are forked, which inherit what it imports
    for o in 'ab': cluster.worker(o)
    there = compare(folder, out=tmp_path/'o', scheduler=cluster.address, say=lines.append, **kw)
    assert there['mean'].to_dict()==here['mean'].to_dict() and there.index.tolist()==kw['systems']
    assert pd.read_csv(tmp_path/'o'/'runs.csv').seed.tolist()==[0,1,0,1]
    assert any('mlp-100 with seed 1 goes to' in o for o in lines)
    with pytest.raises(DigitError, match='expected HOST:PORT'): compare(folder, scheduler='nowhere', say=quiet, **kw)

@pytest.mark.parametrize('f', [train, compare], ids=['train','compare'])
def test_without_dask_the_extra_is_named(f, tiny, in_tmp, monkeypatch):
    "The error is raised before data are read, and no file is left"
    monkeypatch.setitem(sys.modules, 'distributed', None)
    more = dict(members=2, **TINY) if f is train else {}
    with pytest.raises(DigitError, match=r"^Dask is not installed: pip install 'digitfast\[distributed\]'$"):
        f(tiny, scheduler='127.0.0.1:9', out='r', **more)
    with pytest.raises(DigitError, match='Dask is not installed'): spread_jobs(max, [1], address='127.0.0.1:9')
    assert not list(in_tmp.iterdir())
