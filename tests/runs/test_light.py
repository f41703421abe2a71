"Test that reading a run needs neither torch nor fastai"
import subprocess, sys
import pytest

HEAVY = 'torch','fastai','torchvision','sklearn','scipy'

@pytest.mark.parametrize('module', ['digitfast.runs', 'digitfast.runs.files', 'digitfast.runs.fields',
                                    'digitfast.runs.preds', 'digitfast.runs.rundir', 'digitfast.runs.run'])
def test_importing_it_imports_no_torch(module):
    code = f"import sys, {module}; print([o for o in {HEAVY} if o in sys.modules])"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip()=='[]', done.stderr

def test_reading_a_run_imports_no_torch(tmp_path):
    "Read `Run` and `Preds` from the package, with the measurements and predictions of a run"
    from run_double import a_run, fake
    a_run(tmp_path/'r', **fake())
    code = f"""import sys
from digitfast.runs import Preds, Run
run = Run({str(tmp_path/'r')!r})
assert run.metrics['recipe']=='quick' and isinstance(run.predictions(), Preds) and repr(run)
print([o for o in {HEAVY} if o in sys.modules])"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip()=='[]', done.stderr
