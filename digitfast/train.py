"Deprecated: `digitfast.all` has these names now; this path works until version 0.3."
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.predict import predict_csv
from digitfast.tasks.train import train

__all__ = ['ensemble', 'predict_csv', 'train']
