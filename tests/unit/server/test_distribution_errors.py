"""What cannot be searched is refused when the sweep is made, by parameter, value and rule."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from wandb_sweep_server.errors import ClientError
from wandb_sweep_server.search.space import parse_parameters

LOOP: dict[str, Any] = {}
LOOP["values"] = [LOOP]

REFUSED = [
    ({"distribution": "cauchy"}, ["'cauchy' does not exist", "log_uniform_values"]),
    ({"distribution": ["uniform"]}, ["['uniform'] does not exist"]),
    ({}, ["{} says no distribution", "'value', 'values', 'min' and 'max'"]),
    ({"min": 1}, ["{'min': 1} says no distribution"]),
    ({"parameters": {"b": {"value": 1}}, "min": 1}, ["says no distribution"]),
    ({"value": 1, "min": 2}, ["(constant)", "key 'min' is not allowed", "distribution, value"]),
    ({"min": 0, "max": 9, "q": 3}, ["(int_uniform)", "key 'q' is not allowed"]),
    ({"distribution": "uniform", "min": 1}, ["(uniform)", "'max' is missing"]),
    ({"distribution": "categorical"}, ["(categorical)", "'values' is missing"]),
    ({"probabilities": [1]}, ["(categorical_w_probabilities)", "'values' is missing"]),
    ({"min": "1e-3", "max": 1}, ["(uniform)", "min = '1e-3' must be a finite number", "write 1.0e-3"]),
    ({"min": True, "max": 1.0}, ["min = True must be a finite number"]),
    ({"min": None, "max": 1.0}, ["min = None must be a finite number"]),
    ({"min": float("-inf"), "max": 1.0}, ["min = -inf must be a finite number"]),
    ({"min": 0.0, "max": float("nan")}, ["max = nan must be a finite number"]),
    ({"min": 0.0, "max": 10**400}, ["must be a finite number"]),
    ({"min": 0, "max": 10**400}, ["(int_uniform)", "must be a finite number"]),
    ({"min": -1.7e308, "max": 1.7e308}, ["max - min must be a finite number", "-1.7e+308"]),
    ({"min": 2.5, "max": 1}, ["min = 2.5 must not be greater than max = 1"]),
    ({"min": 2, "max": 1}, ["(int_uniform)", "min = 2 must not be greater than max = 1"]),
    ({"distribution": "int_uniform", "min": 1.0, "max": 2}, ["min = 1.0 must be an integer"]),
    ({"distribution": "int_uniform", "min": 1, "max": True}, ["max = True must be an integer"]),
    ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, ["q = 0 must be greater than 0"]),
    ({"distribution": "q_uniform", "min": 0, "max": 1, "q": -0.1}, ["q = -0.1 must be greater than 0"]),
    ({"distribution": "q_uniform", "min": 0, "max": 1, "q": "x"}, ["q = 'x' must be a finite number"]),
    ({"distribution": "q_uniform", "min": 0, "max": 1e10, "q": 1e-310}, ["q = 1e-310 is too small for min = 0"]),
    ({"distribution": "log_uniform", "min": 1, "max": 1000}, ["exponents of e", "±709", "log_uniform_values"]),
    ({"distribution": "inv_log_uniform", "min": -800, "max": 0}, ["exponents of e", "inv_log_uniform_values"]),
    ({"distribution": "log_uniform_values", "min": 0, "max": 1}, ["min = 0 must be greater than 0"]),
    ({"distribution": "inv_log_uniform_values", "min": -1, "max": 1}, ["min = -1 must be greater than 0"]),
    ({"distribution": "q_log_uniform_values", "min": 2, "max": 1}, ["min = 2 must not be greater than max = 1"]),
    ({"distribution": "normal", "sigma": -1}, ["(normal)", "sigma = -1 must not be negative"]),
    ({"distribution": "q_log_normal", "mu": "0"}, ["(q_log_normal)", "mu = '0' must be a finite number"]),
    ({"distribution": "normal", "min": 1}, ["key 'min' is not allowed", "distribution, mu, sigma"]),
    ({"distribution": "beta", "a": 0}, ["a = 0 must be greater than 0"]),
    ({"distribution": "q_beta", "b": -2}, ["b = -2 must be greater than 0"]),
    ({"values": []}, ["values = [] must be a list of at least one value"]),
    ({"values": "abc"}, ["values = 'abc' must be a list"]),
    ({"values": {"a": 1}}, ["values = {'a': 1} must be a list"]),
    ({"values": [1, 2], "probabilities": [1]}, ["probabilities = [1] must be one number >= 0 for each of the 2"]),
    ({"values": [1, 2], "probabilities": 0.5}, ["probabilities = 0.5"]),
    ({"values": [1, 2], "probabilities": [1, -1]}, ["probabilities = [1, -1]"]),
    ({"values": [1, 2], "probabilities": [0, 0]}, ["not all 0"]),
    ({"values": [1, 2], "probabilities": [1, float("inf")]}, ["probabilities = [1, inf]"]),
    ({"values": [1, 2], "probabilities": [1e308, 1e308]}, ["probabilities ="]),
    ({"values": [1, 2], "probabilities": ["1", 1]}, ["probabilities ="]),
    ({"values": [datetime.date(2025, 1, 2)]}, ["values must be JSON", "date", "quotes"]),
    ({"value": {1, 2}}, ["values must be JSON", "set"]),
    ({"value": b"abc"}, ["values must be JSON", "bytes"]),
    ({"values": [{(1, 2): 3}]}, ["values must be JSON"]),
    (LOOP, ["values must be JSON", "Circular"]),
]


@pytest.mark.parametrize(("spec", "words"), REFUSED, ids=[str(spec)[:60] for spec, _ in REFUSED])
def test_a_refusal_names_parameter_value_and_rule(spec: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ClientError) as refusal:
        parse_parameters({"opt": {"parameters": {"lr": spec}}})
    for word in ("parameter 'opt", *words):
        assert word in str(refusal.value)


@pytest.mark.parametrize("spec", [0.1, [1, 2], "x", None])
def test_a_parameter_that_is_no_mapping_is_shown_how_to_write_it(spec: Any) -> None:
    with pytest.raises(ClientError, match=r"parameter 'lr': .* must be a mapping, such as \{'value': "):
        parse_parameters({"lr": spec})


@pytest.mark.parametrize("parameters", [None, {}, [], "a", 3])
def test_a_sweep_needs_parameters(parameters: Any) -> None:
    with pytest.raises(ClientError, match="must be a mapping with at least one parameter"):
        parse_parameters(parameters)


def test_empty_nested_parameters_are_refused_by_the_name_of_their_owner() -> None:
    with pytest.raises(ClientError, match=r"parameter 'a\.b': parameters = \{\} must be"):
        parse_parameters({"a": {"parameters": {"b": {"parameters": {}}}}})


@pytest.mark.parametrize("name", ["", "1a", "a b", "a/b", "-a", "ä", "a\n", 'a"; DROP TABLE runs', 3, None])
def test_names_that_wandb_would_refuse_are_refused(name: Any) -> None:
    with pytest.raises(ClientError, match="a name starts with a letter or _"):
        parse_parameters({name: {"value": 1}})


@pytest.mark.parametrize("name", ["a", "_a", "A.b-c_1", "a.", "_"])
def test_names_that_wandb_takes_are_taken(name: str) -> None:
    assert [d.name for d in parse_parameters({name: {"value": 1}})] == [name]


def test_nested_mappings_that_contain_themselves_are_refused() -> None:
    loop: dict[str, Any] = {}
    loop["a"] = {"parameters": loop}
    with pytest.raises(ClientError, match="Circular"):
        parse_parameters(loop)
