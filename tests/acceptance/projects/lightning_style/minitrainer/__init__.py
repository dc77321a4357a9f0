"""A trainer with the shape of Lightning's: it fits a model, calls callbacks, and logs."""

from minitrainer.callbacks import Callback, EarlyStopping, ModelCheckpoint
from minitrainer.trainer import Trainer

__all__ = ["Callback", "EarlyStopping", "ModelCheckpoint", "Trainer"]
