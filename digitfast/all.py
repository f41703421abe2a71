"Everything that a notebook needs: `from digitfast.all import *`"
from digitfast.core import *
from digitfast.device import *
from digitfast.read import *
from digitfast.data import *
from digitfast.baseline import *
from digitfast.models import *
from digitfast.learner import *
from digitfast.recipe import *
from digitfast.export import *
from digitfast.predict import *
from digitfast.pictures import *
from digitfast.submit import *
from digitfast.interpret import *
from digitfast.train import *
from digitfast.compare import *
