"""All names for a notebook: those of `fastai.vision.all` and those of digitfast.

No name of digitfast is a name of fastai, so the order of imports does not matter. `archs` contains the architectures,
and `by_hand` the from-scratch systems and their parts."""
from fastai.vision.all import *

from digitfast.core import DataError, DigitError, KaggleError, RunError
from digitfast.device import best_precision, digit_device, versions
from digitfast.data.files import find_data, sample_path
from digitfast.data.frames import DigitData, check_frame
from digitfast.data.read import as_data, read_csvs
from digitfast.data.block import DigitBlock, DigitDataLoaders, NormalizePixels
from digitfast.data.load import DigitDL
from digitfast.data.transforms import RowToImage, pixel_stats, same_images
from digitfast.data.split import digit_splitter
from digitfast.data.mnist import read_mnist
from digitfast.models.scratch import by_hand
from digitfast.models.nets import Ensemble, arch, archs, create_model, model_cost
from digitfast.learn.callbacks import BF16, EMA, RandAffine, RowWeights, ValidEvery, opts
from digitfast.learn.loss import LossAccuracy, losses
from digitfast.learn.learner import digit_learner, seed_all
from digitfast.learn.recipe import Recipe, find_lr, get_recipe, recipes
from digitfast.learn.plugins import import_file
from digitfast.runs.weights import PixelsToProbs, export_onnx, export_pickle, load_net, save_net
from digitfast.learn.predict import ShiftTTA, check_canary, predict_rows, predict_test
from digitfast.kaggle.submission import check_submission, save_submission, submission
from digitfast.runs.calibration import calibrate, fit_temperature
from digitfast.runs.preds import Preds
from digitfast.runs.run import Run
from digitfast.report.measure import most_confused, score_interval, suspicious_labels, versus, wilson, worst_mistakes
from digitfast.report.plots import (
    plot_calibration, plot_class_accuracy, plot_class_balance, plot_confusion, plot_history, plot_lr_find, read_history,
    show_digits, show_predictions, show_versus)
from digitfast.report.page import write_report
from digitfast.data.picture import read_picture
from digitfast.tasks.train import train
from digitfast.tasks.ensemble import ensemble
from digitfast.tasks.predict import predict_csv
from digitfast.tasks.compare import compare
from digitfast.tasks.save import save_run
from digitfast.tasks.tune import Search, tune
from digitfast.kaggle.submit import submit_to_kaggle
from digitfast.kaggle.publish import publish_kernel
from digitfast.tasks.share import share_run
from digitfast.tasks.spread import spread_jobs
