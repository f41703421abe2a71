"`python -m digitfast` is the command `digitfast`"
from digitfast.cli import main

if __name__=='__main__': main()
