"""Train a small network on scikit-learn's handwritten digits; the result is its validation error.

An ordinary Hydra app: nothing here knows what starts it. Everything is in one file on purpose: launchers
pickle the task function and load it in processes where this file's directory is not on ``sys.path``.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Read once, when NumPy loads its BLAS. These matrices are too small to share among threads, and several
# trainings usually share the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hydra
import numpy as np
from hydra.core.hydra_config import HydraConfig
from numpy.typing import NDArray
from omegaconf import DictConfig
from sklearn.datasets import load_digits

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

NUM_CLASSES = 10
LOG_LINES_PER_TRAINING = 5


@dataclass(frozen=True)
class Dataset:
    """Images as rows of pixels in [0, 1], shape (n, 64), and their digits, shape (n,)."""

    train_images: Floats
    train_labels: Labels
    val_images: Floats
    val_labels: Labels


@dataclass(frozen=True)
class Layer:
    """The weights of one fully connected layer, or a same-shaped quantity such as their gradient."""

    weight: Floats  # (inputs, outputs)
    bias: Floats  # (outputs,)


def load_data(num_images: int | None, val_fraction: float, rng: np.random.Generator) -> Dataset:
    """Shuffle the digits, keep ``num_images`` of them (None: all 1,797) and split off a validation set."""
    images, labels = load_digits(return_X_y=True)
    chosen = rng.permutation(len(labels))[:num_images]
    images, labels = (images[chosen] / 16.0).astype(np.float32), labels[chosen].astype(np.int64)
    num_val = round(val_fraction * len(labels))
    return Dataset(images[num_val:], labels[num_val:], images[:num_val], labels[:num_val])


def init_layers(sizes: list[int], rng: np.random.Generator) -> list[Layer]:
    """He initialisation for a ReLU network whose layers have ``sizes`` units, input and output included."""
    return [
        Layer(
            weight=rng.normal(0.0, np.sqrt(2.0 / fan_in), (fan_in, fan_out)).astype(np.float32),
            bias=np.zeros(fan_out, dtype=np.float32),
        )
        for fan_in, fan_out in itertools.pairwise(sizes)
    ]


def softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def predict(layers: list[Layer], images: Floats) -> Floats:
    """Class probabilities, shape (n, 10), with dropout off."""
    activation = images
    for layer in layers[:-1]:
        activation = np.maximum(activation @ layer.weight + layer.bias, 0.0)
    return softmax(activation @ layers[-1].weight + layers[-1].bias)


def gradients(
    layers: list[Layer], images: Floats, labels: Labels, dropout: float, rng: np.random.Generator
) -> list[Layer]:
    """Gradients of the mean cross-entropy, with inverted dropout on the hidden units."""
    inputs, keeps = [images], []
    for layer in layers[:-1]:
        pre_activation = inputs[-1] @ layer.weight + layer.bias
        keep = (rng.random(pre_activation.shape) >= dropout) / np.float32(1.0 - dropout)
        keep = (keep * (pre_activation > 0.0)).astype(np.float32)
        keeps.append(keep)
        inputs.append(pre_activation * keep)
    delta = softmax(inputs[-1] @ layers[-1].weight + layers[-1].bias)
    delta[np.arange(len(labels)), labels] -= 1.0
    delta /= len(labels)

    backwards = []
    for depth in reversed(range(len(layers))):
        backwards.append(Layer(inputs[depth].T @ delta, delta.sum(axis=0)))
        if depth > 0:
            delta = (delta @ layers[depth].weight.T) * keeps[depth - 1]
    return backwards[::-1]


class Sgd:
    """Stochastic gradient descent with momentum, updating the layers' arrays in place."""

    def __init__(self, layers: list[Layer], lr: float, momentum: float) -> None:
        self._lr = lr
        self._momentum = momentum
        self._params = [array for layer in layers for array in (layer.weight, layer.bias)]
        self._velocities = [np.zeros_like(param) for param in self._params]

    def step(self, grads: list[Layer]) -> None:
        flat = [array for layer in grads for array in (layer.weight, layer.bias)]
        for param, velocity, grad in zip(self._params, self._velocities, flat, strict=True):
            velocity *= self._momentum
            velocity -= self._lr * grad
            param += velocity


class Adam:
    """Adam (Kingma and Ba, 2015), updating the layers' arrays in place."""

    def __init__(self, layers: list[Layer], lr: float, beta1: float, beta2: float, eps: float) -> None:
        self._lr, self._beta1, self._beta2, self._eps = lr, beta1, beta2, eps
        self._num_steps = 0
        self._params = [array for layer in layers for array in (layer.weight, layer.bias)]
        self._means = [np.zeros_like(param) for param in self._params]
        self._squares = [np.zeros_like(param) for param in self._params]

    def step(self, grads: list[Layer]) -> None:
        self._num_steps += 1
        mean_correction = 1.0 - self._beta1**self._num_steps
        square_correction = 1.0 - self._beta2**self._num_steps
        flat = [array for layer in grads for array in (layer.weight, layer.bias)]
        for param, mean, square, grad in zip(self._params, self._means, self._squares, flat, strict=True):
            mean += (1.0 - self._beta1) * (grad - mean)
            square += (1.0 - self._beta2) * (grad * grad - square)
            param -= self._lr * (mean / mean_correction) / (np.sqrt(square / square_correction) + self._eps)


def make_optimizer(cfg: DictConfig, layers: list[Layer], lr: float) -> Sgd | Adam:
    """The optimizer that the config group ``optimizer`` describes.

    Raises:
        ValueError: ``cfg.name`` is neither ``sgd`` nor ``adam``.
    """
    if cfg.name == "sgd":
        return Sgd(layers, lr, cfg.momentum)
    if cfg.name == "adam":
        return Adam(layers, lr, cfg.beta1, cfg.beta2, cfg.eps)
    raise ValueError(f"optimizer.name={cfg.name!r}: must be 'sgd' or 'adam'; choose optimizer=sgd or =adam")


def minibatches(num_images: int, batch_size: int, rng: np.random.Generator) -> Iterator[Labels]:
    """The indices of one epoch's batches, each shape (<= batch_size,), in random order."""
    order = rng.permutation(num_images)
    for start in range(0, num_images, batch_size):
        yield order[start : start + batch_size]


def error_rate(layers: list[Layer], images: Floats, labels: Labels) -> float:
    return float(np.mean(predict(layers, images).argmax(axis=1) != labels))


def save_checkpoint(path: Path, **state: object) -> None:
    """Replace the checkpoint; whoever is interrupted in here finds the one before."""
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(pickle.dumps(state))
    unfinished.replace(path)


def train(cfg: DictConfig, checkpoint: Path) -> float:
    """Train as ``cfg`` says; return the fraction of validation images that end up misclassified.

    checkpoint: written after each epoch. If it is there already, the training goes on from it, to the same result.
    """
    rng = np.random.default_rng(cfg.seed)
    data = load_data(cfg.data.num_images, cfg.data.val_fraction, rng)
    layers = init_layers([data.train_images.shape[1], *cfg.model.hidden_sizes, NUM_CLASSES], rng)
    optimizer = make_optimizer(cfg.optimizer, layers, cfg.lr)
    epochs_done = 0
    if checkpoint.exists():
        state = pickle.loads(checkpoint.read_bytes())
        epochs_done, rng = state["epoch"], state["rng"]
        layers = [Layer(weight, bias) for weight, bias in state["layers"]]
        vars(optimizer).update(state["optimizer"])  # holds the very arrays of the layers
        log.info("goes on after epoch %d", epochs_done)

    log_every = max(1, cfg.epochs // LOG_LINES_PER_TRAINING)
    for epoch in range(epochs_done + 1, cfg.epochs + 1):
        for batch in minibatches(len(data.train_labels), cfg.batch_size, rng):
            images, labels = data.train_images[batch], data.train_labels[batch]
            optimizer.step(gradients(layers, images, labels, cfg.dropout, rng))
        # No classes of this file: where it was pickled itself, as launchers do, they can't be pickled again.
        arrays = [(layer.weight, layer.bias) for layer in layers]
        save_checkpoint(checkpoint, epoch=epoch, rng=rng, layers=arrays, optimizer=vars(optimizer))
        if epoch % log_every == 0:
            log.info(
                "epoch %d/%d: training error %.4f, validation error %.4f",
                epoch,
                cfg.epochs,
                error_rate(layers, data.train_images, data.train_labels),
                error_rate(layers, data.val_images, data.val_labels),
            )
    return error_rate(layers, data.val_images, data.val_labels)


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(cfg: DictConfig) -> float:
    return train(cfg, Path(HydraConfig.get().runtime.output_dir) / "checkpoint.pkl")


if __name__ == "__main__":
    main()
