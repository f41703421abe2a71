"""Facts in error messages, whatever the words: file or argument, line or row, column, found, expected, what to do

A message can be reworded, and these tests still pass. They fail if it loses a fact."""
import re
from pathlib import Path
import numpy as np, pandas as pd, pytest
from conftest import csvs, digits
from digitfast.core import DigitError, as_command, check_output, check_run_dir
from digitfast.data.frames import check_frame
from digitfast.data.read import read_csvs, read_rows
from digitfast.data.split import digit_splitter
from digitfast.device import best_precision, digit_device
from digitfast.kaggle.submission import check_submission, submission
from digitfast.learn.recipe import Recipe

def with_cell(df, row, column, value):
    "Return `df` as text in which a cell is `value`"
    df = df.astype(object)
    df.loc[row,column] = value
    return df

def train(**kw): return lambda: read_csvs(csvs(Path('d'), **kw))
def cell(value): return train(train=with_cell(digits(), 3, 'pixel9', value))
def text(name, s):
    def read():
        Path(name).write_bytes(s if isinstance(s, bytes) else s.encode())
        return read_csvs(name)
    return read
def submitted(change, **kw):
    def check():
        sub = change(pd.DataFrame(dict(ImageId=np.arange(1, 21), Label=1)))
        sub.to_csv('mine.csv', index=kw.get('index', False))
        return check_submission('mine.csv', csvs(Path('d')))
    return check
def begun(*names):
    for o in names:
        Path(o).parent.mkdir(parents=True, exist_ok=True)
        Path(o).write_text('{"info":{}}')

WIDE = digits(2).to_csv(index=False).splitlines() # a header and two lines
FIX,LABEL = 'fix|remove','label='
# name: (call; file or argument, line or row, column; found; expected; advice)
CASES = {
    'word for a pixel':   (cell('x'), ['d/train.csv','line 5','pixel9'], "'x'", '0 to 255', FIX),
    'blank pixel':        (cell(''), ['d/train.csv','line 5','pixel9'], 'blank', '0 to 255', FIX),
    'pixel above 255':    (cell('256'), ['d/train.csv','line 5','pixel9'], "'256'", '0 to 255', FIX),
    'fraction':           (cell('0.5'), ['d/train.csv','line 5','pixel9'], "'0.5'", '0 to 255', 'multipl.* 255'),
    'label missing':      (train(train=with_cell(digits(), 4, 'label', '')), ['d/train.csv','line 6','label'], 'blank',
                           'whole number', FIX),
    'word among labels':  (train(train=with_cell(digits(), 4, 'label', 'x')), ['d/train.csv','line 6','label'], "'x'",
                           'whole number', FIX),
    'one class':          (train(train=digits().assign(label=1)), ['d/train.csv','label'], "'1'", 'two classes', 'add'),
    'no label column':    (train(train=digits(label=False), sample=False), ['d/train.csv','line 1'],
                           '64 pixels', 'label', LABEL),
    'label by a wrong name': (lambda: read_csvs(csvs(Path('d')), label='digit'), ['d/train.csv'], "'digit'",
                              r'expected.*\blabel\b', LABEL),
    'two label columns':  (train(train=digits(label=False).assign(foo=np.arange(60)%3, bar=np.arange(60)%2),
                                 sample=False), ['d/train.csv'], 'foo.*bar', 'one', LABEL),
    'pixel missing':      (train(train=digits().drop(columns='pixel5')), ['d/train.csv','line 1'], 'pixel5', 'every',
                           'add'),
    'not a square':       (train(train=digits().assign(pixel64=0)), ['d/train.csv','line 1'], '65 pixel', '64.*81',
                           'add|remove'),
    'test pixel missing': (train(test=digits(20, label=False).drop(columns='pixel5')),
                           ['d/test.csv','line 1'], 'pixel5',
                           'training set', 'name'),
    'test word':          (train(test=with_cell(digits(20, label=False), 2, 'pixel9', 'x')),
                           ['d/test.csv','line 4','pixel9'], "'x'", '0 to 255', FIX),
    'repeated id':        (train(test=digits(20, label=False).assign(id=[1,1,*range(3, 21)])),
                           ['d/test.csv','line 2','id'], "'1'", 'each row', 'fix'),
    'short line':         (text('t.csv', '\n'.join(WIDE)[:-4]), ['t.csv','line 3'], '64 fields', '65', 'fix|again'),
    'header only':        (text('t.csv', WIDE[0]), ['t.csv'], 'header', 'image', 'get'),
    'empty file':         (text('t.csv', ''), ['t.csv'], 'empty', 'train.csv|image', 'get'),
    'pickle':             (text('t.csv', b'\x80\x04\x95'), ['t.csv'], 'pickle', 'CSV', 'save|download'),
    'UTF-16':             (text('t.csv', 'label,pixel0\n'.encode('utf-16')), ['t.csv'], 'UTF-16', 'UTF-8', 'save'),
    'no such path':       (lambda: read_csvs('nowhere'), ['nowhere'], 'no such file', 'train.csv', 'check'),
    'no training set':    (lambda: (Path('e').mkdir(), Path('e/notes.txt').write_text('x'), read_csvs('e')), ['e'],
                           'notes.txt', 'train.csv', 'check'),
    'two training sets':  (lambda: ([digits().to_csv(o, index=False) for o in ('a_train.csv','b_train.csv')],
                                    read_csvs('.')), ['.'], 'a_train.csv.*b_train.csv', 'one', 'name|remove'),
    'frame':              (lambda: check_frame(digits().assign(pixel1=[5,.6]*30)), ['row 1','pixel1'], '0.6',
                           '0 to 255',
                           'round|fix'),
    'rows of another side': (lambda: read_rows(csvs(Path('d'), side=9)/'test.csv', label='digit'), ['d/test.csv'],
                             "'digit'", 'one of', LABEL),
    'id unknown':         (submitted(lambda o: o.assign(ImageId=o.ImageId-1)), ['mine.csv','line 2'], "'0'",
                           '20', 'use'),
    'id missing':         (submitted(lambda o: o[:-1]), ['mine.csv'], '1 of 20', 'all', 'add.* 20'),
    'id repeated':        (submitted(lambda o: o.assign(ImageId=[1,*range(1, 20)])), ['mine.csv','line 3'], "'1'",
                           'line 2', 'remove'),
    'decimal label':      (submitted(lambda o: o.astype({'Label':float})), ['mine.csv','line 2'], "'1.0'",
                           '0, 1, 2', 'write'),
    'index written':      (submitted(lambda o: o, index=True), ['mine.csv','line 1'], '3 columns', 'two',
                           'index=False'),
    'predictions missing': (lambda: submission([1]*19, read_csvs(csvs(Path('d')))), ['labels'], '19.*20',
                            'one', 'check'),
    'device':             (lambda: digit_device('tpu'), ['device'], "'tpu'", 'cpu, cuda or mps', 'device='),
    'precision':          (lambda: best_precision('fp8', digit_device('cpu')), ['precision'], "'fp8'", 'fp32', 'use'),
    'share':              (lambda: digit_splitter('random', 1.)(digits()), ['valid_pct'], '1',
                           'between 0 and 1', 'use'),
    'split':              (lambda: digit_splitter('lst', .2)(digits()), ['valid'], "'lst'", 'last', 'use'),
    'recipe value':       (lambda: Recipe(epochs=-1), ['epochs'], "'-1'", 'from 1', ''),
    'recipe name':        (lambda: Recipe(arch='smal'), ['architecture'], "'smal'", 'small', 'use'),
    'recipe field':       (lambda: Recipe(epoch=1), ['recipe'], "'epoch'", 'epochs', 'use'),
    'finished run':       (lambda: (begun('r/metrics.json'), check_run_dir('r')), ['r'], 'finished run', 'new', 'out='),
    'unfinished run':     (lambda: (begun('r/checkpoint/state.json'), check_run_dir('r')), ['r'],
                           'unfinished run', 'new',
                           'out=.*resume=True'),
    'output is input':    (lambda: (begun('i.csv'), check_output('i.csv', 'i.csv', option='--out')), ['i.csv'], 'input',
                           'new file', '--out'),
}

def message(call):
    with pytest.raises(DigitError) as e: call()
    return str(e.value)

@pytest.mark.parametrize('name', CASES)
def test_a_message_has_all_facts(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call,where,found,expected,todo = CASES[name]
    s = message(call)
    for o in where: assert re.search(rf'(?<!\w){re.escape(o)}(?!\w)', s), f'no {o!r} in: {s}'
    assert re.search(found, s), f'not found in: {s}'
    assert re.search(expected, s), f'not expected in: {s}'
    assert re.search(todo, s, re.I), f'no advice in: {s}'
    assert s.isprintable() and len(s)<600

def test_there_are_enough_kinds(): assert len(CASES)>=25

def test_the_same_message_on_the_command_line(tmp_path, monkeypatch):
    "An option is spelled as the user types it"
    monkeypatch.chdir(tmp_path)
    with as_command(): s = message(CASES['no label column'][0])
    assert '--label NAME' in s and 'label=' not in s
