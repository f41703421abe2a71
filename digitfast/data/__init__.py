"How does a table become batches? Find, read and check the files, then build DataLoaders; or read a picture."
from digitfast.core import lazy_exports

__getattr__,__dir__,__all__ = lazy_exports(__name__, dict(
    reading='Reading',
    files='find_data sample_path', frames='DigitData check_frame', mnist='read_mnist', read='as_data read_csvs',
    transforms='RowToImage pixel_stats same_images',
    load='DigitDL',
    split='digit_splitter',
    block='DigitBlock DigitDataLoaders NormalizePixels',
    picture='read_picture read_pictures'))
