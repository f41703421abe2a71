"Tests of the basics: printable text, files that are complete or absent, and careful reading"
import io, os, socket, threading
import pytest
from digitfast.core import DataError, DigitError, KaggleError, RunError, echo, read_plain, scrub, short_name, write_file

# ---- text

TEXT = [
    ('plain', 'plain'),
    ('3 × か ½', '3 × か ½'),
    (7, '7'),
    (None, 'None'),
    ('a\nb\tc\rd\x0be', 'a?b?c?d?e'),
    ('\x1b[31mred\x1b]0;title\x07', '?[31mred?]0;title?'),
    ('\x9b31m', '?31m'),                       # the same in one C1 character
    ('\u202eabc\u2066', '?abc?'),              # turns the line around
    ('a\u2028b\u2029c\x85d', 'a?b?c?d'),       # ends of lines that are no \n
    ('a\u200bb\ufeff', 'a?b?'),                # of no width
    ('\x7f\x08\x00', '???'),
    ('\udce9.png', '?.png'),                   # a byte of a file's name in no known encoding
    ('\xa0x', '?x'),
]
@pytest.mark.parametrize('s,want', TEXT)
def test_scrub(s, want): assert scrub(s)==want

def test_everything_is_printable_after_scrub():
    s = ''.join(map(chr, range(0x110000)))
    assert scrub(s).isprintable() and len(scrub(s))==len(s) and scrub(scrub(s))==scrub(s)

@pytest.mark.parametrize('kind', [DigitError, DataError, RunError, KaggleError])
def test_errors_are_one_printable_line(kind):
    msg = str(kind('x.csv\n\n  line 2: \x1b[2J\u202e'+'y'*5000+' do this'))
    assert msg.isprintable() and msg.startswith('x.csv line 2: ?[2J?') and msg.endswith('do this') and len(msg)<600
    assert str(kind())=='' and isinstance(kind(), DigitError)

@pytest.mark.parametrize('n', [1, 2, 24, 100])
def test_short_name_is_short(n): assert len(short_name('x\n'*60, n))==n and short_name('\x1b'*n, n)=='?'*n

def test_interpret_has_it_still():
    from digitfast.report.plots import short_name as old
    assert old is short_name

# ---- printing

@pytest.mark.parametrize('encoding,want', [('utf-8', 'か?×\n'), ('ascii', '\\u304b?\\xd7\n'),
    ('latin-1', '\\u304b?×\n'), ('cp437', '\\u304b?\\xd7\n')])
def test_echo_in_what_the_terminal_has(encoding, want):
    f = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline='\n')
    echo('か\x1b×', file=f)
    assert f.buffer.getvalue().decode(encoding)==want

def test_echo_lines(capsys):
    echo('a\nb', 3, '')
    assert capsys.readouterr().out=='a?b\n3\n\n'

def test_echo_without_a_console(monkeypatch):
    monkeypatch.setattr('sys.stdout', None)
    echo('nobody hears')

# ---- writing

def test_write_file_leaves_the_old_or_the_new(tmp_path, monkeypatch):
    f = write_file(tmp_path/'a'/'b.txt', 'old')
    def fail(*a): raise OSError(28, 'No space left on device')
    for name in 'fsync','replace':
        with monkeypatch.context() as m:
            m.setattr(os, name, fail)
            with pytest.raises(RunError, match='No space left.*Nothing was changed'): write_file(f, b'new')
        assert f.read_text()=='old' and [o.name for o in f.parent.iterdir()]==['b.txt']
    assert write_file(str(f), b'new')==f and f.read_bytes()==b'new'

def test_write_file_takes_any_name_that_the_disk_takes(tmp_path):
    name = 'x'*os.pathconf(tmp_path, 'PC_NAME_MAX')
    assert write_file(tmp_path/name, 'long').read_text()=='long'

BAD_NAMES = dict(long='x'*300, nul='a\0b', below_a_file='file/x', a_folder='folder')
@pytest.mark.parametrize('name', BAD_NAMES)
def test_write_file_refuses_in_one_line(name, tmp_path):
    (tmp_path/'file').write_text('')
    (tmp_path/'folder').mkdir()
    with pytest.raises(RunError, match="can't write") as e: write_file(tmp_path/BAD_NAMES[name], 'x')
    assert str(e.value).isprintable() and sorted(o.name for o in tmp_path.iterdir())==['file','folder']

def test_write_file_follows_no_link(tmp_path):
    "Check a link at the final name, and one at the temporary name"
    (tmp_path/'mine').write_text('mine')
    (tmp_path/'link').symlink_to(tmp_path/'mine')
    write_file(tmp_path/'link', 'new')
    assert (tmp_path/'mine').read_text()=='mine' and not (tmp_path/'link').is_symlink()

def test_write_file_of_many_threads_is_one_of_theirs(tmp_path):
    texts = [str(i)*100_000 for i in range(8)]
    ts = [threading.Thread(target=write_file, args=(tmp_path/'f', o)) for o in texts]
    for t in ts: t.start()
    for t in ts: t.join()
    assert (tmp_path/'f').read_text() in texts and len(list(tmp_path.iterdir()))==1

# ---- reading

@pytest.fixture
def odd(tmp_path):
    "Create things that have a name and are not regular files"
    (tmp_path/'file').write_bytes(b'x'*1000)
    (tmp_path/'folder').mkdir()
    os.mkfifo(tmp_path/'pipe')
    s = socket.socket(socket.AF_UNIX)
    cwd = os.getcwd()
    os.chdir(tmp_path)   # a socket's path is short
    try: s.bind('socket')
    finally: os.chdir(cwd)
    for k,v in dict(link='file', to_zero='/dev/zero', to_pipe='pipe', loop='loop',
        nowhere='gone').items(): (tmp_path/k).symlink_to(v)
    yield tmp_path
    s.close()

ODD = [('folder','folder'), ('pipe','regular'), ('socket',''), ('to_zero','regular'), ('to_pipe','regular'),
    ('loop',''), ('nowhere','No such'), ('gone','No such'),
       ('x'*300,'too long'), ('a\0b','null'), ('file/x','')]
@pytest.mark.parametrize('name,says', ODD)
def test_read_plain_refuses_and_never_waits(name, says, odd):
    with pytest.raises(OSError) as e: read_plain(odd/name)
    assert says in e.value.strerror

def test_read_plain(odd):
    assert read_plain(odd/'file')==read_plain(str(odd/'link'))==b'x'*1000
    assert read_plain(odd/'file', most=1000)==b'x'*1000
    with pytest.raises(OSError, match='more than 999 bytes'): read_plain(odd/'file', most=999)
    with pytest.raises(OSError): read_plain(odd/'link', links=False)
    n = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0
    for name,_ in ODD:
        with pytest.raises(OSError): read_plain(odd/name)
    assert not n or len(os.listdir('/proc/self/fd'))==n   # none stays open
