"Deprecated: this module is `digitfast.tasks.train` now; the old path works until 0.3."
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.predict import predict_csv
from digitfast.tasks.train import train
