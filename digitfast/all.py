"Everything that a notebook needs: `from digitfast.all import *`"
from digitfast.read import *
from digitfast.device import *
from digitfast.data import *
from digitfast.baseline import *
from digitfast.models import *
from digitfast.learner import *
from digitfast.export import *
from digitfast.submit import *
from digitfast.interpret import *
from digitfast.run import *
from digitfast.compare import *
