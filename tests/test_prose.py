"Test the words of the repository, as `benchmarks/prose.py` counts them"
import importlib.util
import pytest
from conftest import REPO

@pytest.fixture(scope='module')
def prose():
    spec = importlib.util.spec_from_file_location('prose', REPO/'benchmarks/prose.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

def test_few_habits_of_translated_english(prose):
    "At most 0.5 per 1,000 words overall, and 2 in any file; `python benchmarks/prose.py --list FILE` shows them"
    counts = prose.count(prose.texts(REPO))
    assert len(counts)>150 and sum(words for words,_ in counts.values())>100_000
    wrong = prose.too_many(counts)
    assert not wrong, '\n'.join(wrong)

@pytest.mark.parametrize('text,habit', [
    ('If one wants to train, one must wait.', 'one (subject)'), ('Whoever checks a file reads it.', 'whoever'),
    ('Who has arrays is asked.', 'whoever'), ('The user is told why.', 'told'), ('It has 9 wrong.', 'has … wrong'),
    ('## What a net has measured', 'What … (subject)'), ('Mend it.', 'mend'), ('It is surest of a 7.', 'surest'),
    ('Draw it anew.', 'anew'), ('A pickle is refused.', 'refused'), ('It stands below.', 'stands'),
    ('100 canary rows', 'canary'), ('The net says 7.', 'net says'), ('Put it aside.', 'put aside'),
    ('rows that no net saw', 'no net saw'), ('a loop by hand', 'by hand')])
def test_a_habit_is_counted(prose, text, habit): assert habit in [k for k,_ in prose.occurrences(text)]

@pytest.mark.parametrize('text', ['This one is left.', 'What is a loss?', 'each has the right size', 'a standard tool',
                                  'No one file fits.', 'two nets', 'Who moves the weights?'])
def test_plain_words_are_not(prose, text): assert not list(prose.occurrences(text))

def test_code_is_not_prose(prose):
    assert 'anew' not in prose.markdown('Call `anew(x)`.\n\n```python\nanew = 1 # anew\n```\n')
    s = prose.python('anew = 1 # drawn again each time\n'
                     'def f():\n    "Return it anew"\n    return f"{anew} is told twice here"\n')
    assert 'drawn again each time' in s and 'Return it anew' in s and 'x is told twice here' in s and s.count('anew')==1
