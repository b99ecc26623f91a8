"""Data loaders: solo-learn's data sets and ours, with solo-learn's augmentations."""

from solo_gedi.training.loaders.batches import TrainingLoader as TrainingLoader
from solo_gedi.training.loaders.batches import WorkersLoader as WorkersLoader
from solo_gedi.training.loaders.checks import check_classes as check_classes
from solo_gedi.training.loaders.checks import check_inputs as check_inputs
from solo_gedi.training.loaders.splits import other_data as other_data
from solo_gedi.training.loaders.splits import plain_loader as plain_loader
from solo_gedi.training.loaders.splits import probe_loaders as probe_loaders
from solo_gedi.training.loaders.splits import validation_loader as validation_loader
from solo_gedi.training.loaders.splits import with_probe_augmentations as with_probe_augmentations
from solo_gedi.training.loaders.views import DeviceViews as DeviceViews
from solo_gedi.training.loaders.views import device_views as device_views
from solo_gedi.training.loaders.views import pretrain_loader as pretrain_loader
from solo_gedi.training.loaders.views import training_images as training_images
from solo_gedi.training.loaders.views import with_normalization as with_normalization
