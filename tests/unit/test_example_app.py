"""The example app by itself: it trains, it repeats itself, and it runs under Hydra's own sweeper."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

REPO = Path(__file__).resolve().parents[2]
TRAIN = REPO / "example_app" / "train.py"
CONF = REPO / "conf"


@pytest.fixture(scope="module")
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_train", TRAIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def config(*overrides: str, with_hydra: bool = False) -> DictConfig:
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("config", list(overrides), return_hydra_config=with_hydra)


def hydra_config(*overrides: str) -> DictConfig:
    return config(*overrides, with_hydra=True)


def multirun(sweep_dir: Path, *overrides: str) -> list[str]:
    """Run the app with Hydra's own sweeper; return the overrides of every job, sorted."""
    command = [sys.executable, str(TRAIN), "-m", f"hydra.sweep.dir={sweep_dir}", *overrides]
    result = subprocess.run(command, cwd=sweep_dir.parent, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    jobs = sweep_dir.glob("*/.hydra/overrides.yaml")
    return sorted(" ".join(yaml.safe_load(job.read_text())) for job in jobs)


@pytest.mark.parametrize("optimizer", ["optimizer=adam lr=1e-3", "optimizer=sgd lr=0.1"])
def test_the_network_learns_to_read_digits(train: ModuleType, optimizer: str, tmp_path: Path) -> None:
    error = train.train(config("epochs=15", *optimizer.split()), tmp_path / "checkpoint")
    assert isinstance(error, float)
    assert 0.0 <= error < 0.1


def test_a_training_without_epochs_guesses(train: ModuleType, tmp_path: Path) -> None:
    assert 0.6 < train.train(config("epochs=0"), tmp_path / "checkpoint") <= 1.0


def test_the_seed_alone_decides_the_result(train: ModuleType, tmp_path: Path) -> None:
    errors = [
        train.train(config("epochs=3", f"seed={seed}"), tmp_path / f"checkpoint{i}")
        for i, seed in enumerate((1, 1, 2))
    ]
    assert errors[0] == errors[1] != errors[2]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_interrupted_training_goes_on_to_the_same_result(
    train: ModuleType, optimizer: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Few epochs at a low rate: every further step still changes the result.
    settings = (f"optimizer={optimizer}", "lr=1e-4")
    whole = train.train(config("epochs=6", *settings), tmp_path / "whole")
    interrupted = tmp_path / "interrupted"
    assert train.train(config("epochs=2", *settings), interrupted) != whole
    with caplog.at_level("INFO"):
        assert train.train(config("epochs=6", *settings), interrupted) == whole
    assert "goes on after epoch 2" in caplog.text
    arrays = [pickle.loads(path.read_bytes())["layers"][0][0] for path in (tmp_path / "whole", interrupted)]
    assert np.array_equal(*arrays)


def test_an_unknown_optimizer_is_named(train: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"optimizer\.name='adamw'"):
        train.train(config("optimizer.name=adamw"), tmp_path / "checkpoint")


def test_gradients_agree_with_finite_differences(train: ModuleType) -> None:
    rng = np.random.default_rng(0)
    layers = [  # no zero biases: they put units exactly on ReLU's kink, where differences mean nothing
        train.Layer(layer.weight.astype(np.float64), rng.normal(size=layer.bias.shape))
        for layer in train.init_layers([5, 4, 4, 3], rng)
    ]
    images, labels = rng.random((6, 5)), rng.integers(0, 3, 6)
    grads = train.gradients(layers, images, labels, 0.0, rng)

    def loss() -> float:
        return float(-np.log(train.predict(layers, images)[np.arange(6), labels]).mean())

    step = 1e-6
    for layer, grad in zip(layers, grads, strict=True):
        for param, expected in ((layer.weight, grad.weight), (layer.bias, grad.bias)):
            for index in np.ndindex(param.shape):
                kept = param[index]
                param[index] = kept + step
                above = loss()
                param[index] = kept - step
                below = loss()
                param[index] = kept
                assert (above - below) / (2 * step) == pytest.approx(expected[index], abs=1e-5)


def test_hydras_own_sweeper_runs_the_24_configurations_of_the_readme(tmp_path: Path) -> None:
    jobs = multirun(
        tmp_path / "sweep",
        "epochs=10,50,30",
        "batch_size=128",
        "dropout=0.01,0.2,0.5,0.8",
        "lr=1e-3,1e-4",
    )
    assert len(set(jobs)) == 24
    assert "epochs=50 batch_size=128 dropout=0.2 lr=0.0001" in jobs


def test_hydras_own_sweeper_globs_the_models(tmp_path: Path) -> None:
    jobs = multirun(tmp_path / "sweep", "hydra/launcher=basic", "model=glob(*)", "lr=0.1,0.01", "epochs=1")
    models = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    assert jobs == sorted(f"model={model} lr={lr} epochs=1" for model in models for lr in ("0.1", "0.01"))


def test_the_app_knows_nothing_of_sweeps() -> None:
    source = TRAIN.read_text().lower()
    for word in ("wandb", "w&b", "hydra_plugins", "sweep"):
        assert word not in source


def test_every_config_option_composes() -> None:
    for group in ("model", "optimizer", "data"):
        for option in (CONF / group).glob("*.yaml"):
            assert config(f"{group}={option.stem}")[group]


def test_the_settings_are_those_the_readme_names() -> None:
    assert set(config()) == {"model", "optimizer", "data", "epochs", "batch_size", "dropout", "lr", "seed"}


def test_a_preset_or_the_command_line_replaces_the_launcher() -> None:
    assert "joblib" in hydra_config().hydra.launcher._target_
    assert "Slurm" in hydra_config("+preset=slurm").hydra.launcher._target_
    assert "Basic" in hydra_config("hydra/launcher=basic").hydra.launcher._target_


def test_presets_combine() -> None:
    cfg = hydra_config("+preset=[digits_search,slurm]")
    assert cfg.hydra.sweeper.agents == 80
    assert cfg.hydra.sweeper.params.epochs == "10,50,30"
    assert cfg.hydra.launcher.timeout_min == 240
    assert cfg.batch_size == 128


def test_the_sweep_file_and_the_preset_describe_the_same_search() -> None:
    sweep = yaml.safe_load((CONF / "sweep.yaml").read_text())
    preset = yaml.safe_load((CONF / "preset" / "digits_search.yaml").read_text())
    swept = {key: spec["values"] for key, spec in sweep["parameters"].items() if "values" in spec}
    assert {key: ",".join(map(str, values)) for key, values in swept.items()} == preset["hydra"]["sweeper"]["params"]
    assert sweep["parameters"]["batch_size"]["value"] == preset["batch_size"]
    assert {key: sweep[key] for key in ("method", "metric")} == {
        key: preset["hydra"]["sweeper"][key] for key in ("method", "metric")
    }
