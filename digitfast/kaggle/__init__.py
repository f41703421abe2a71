"How does it reach Kaggle? Write and check a submission, submit it, publish a notebook as a kernel."
from digitfast.core import lazy_exports

__getattr__,__dir__,__all__ = lazy_exports(__name__, dict(
    submission='check_submission save_submission',
    credentials='credentials', client='Kaggle', download='comp_path',
    submit='submit_to_kaggle',
    publish='publish_kernel'))
