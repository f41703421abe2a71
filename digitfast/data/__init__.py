"How does a table become batches? Find, read and check the files, then build DataLoaders; or read a picture."
from digitfast.core import lazy_exports

__getattr__,__dir__,__all__ = lazy_exports(__name__, dict(
    reading='Reading',
    read='DigitData as_data check_frame find_data read_csvs read_mnist sample_path',
    transforms='RowToImage pixel_stats same_images',
    load='DigitDL',
    split='digit_splitter',
    block='DigitBlock DigitDataLoaders NormalizePixels',
    picture='read_picture read_pictures'))
