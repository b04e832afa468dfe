"""Files of torch.save: what is read, and that nothing of theirs runs."""

import argparse
import collections
import enum
import os
import sys
import types
import zipfile

import numpy as np
import pytest
import torch

from hf_rnnattn.convert.torch_checkpoint import Record, plain, read_torch, weights_of


class Opens:
    """Makes a file when it is unpickled by Python's own reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def module(name, **classes):
    """A module with these classes as its own, as pickle sees them."""
    made = types.ModuleType(name)
    for key, value in classes.items():
        value.__module__, value.__qualname__ = name, key
        setattr(made, key, value)
    return made


@pytest.fixture
def toolkit(monkeypatch):
    """Classes like those of omegaconf, in modules that are gone when the file is read."""

    class Node:
        def __init__(self, value):
            self._val = value

    class DictConfig:
        def __init__(self, content):
            self._content, self._parent = content, self

    class Choice(enum.Enum):
        FIRST = "first"

    made = module("omegaconf.made_up", Node=Node, DictConfig=DictConfig, Choice=Choice)
    monkeypatch.setitem(sys.modules, "omegaconf", module("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.made_up", made)
    return made


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_and_options_are_read(zipped, tmp_path):
    content = {
        "model": collections.OrderedDict(w=torch.arange(3.0), h=torch.ones(2).half()),
        "args": argparse.Namespace(width=4, parts=[1, None, "x"]),
        "counts": collections.defaultdict(list, {"a": [1]}),
        "best": np.float64(0.5),
    }
    torch.save(content, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    read = read_torch(tmp_path / "c.pt")
    assert torch.equal(read["model"]["w"], torch.arange(3.0))
    assert read["model"]["h"].dtype == torch.float16
    assert plain(read["args"]) == {"width": 4, "parts": [1, None, "x"]}
    assert read["counts"] == {"a": [1]}
    assert isinstance(read["best"], Record)


def test_objects_of_named_modules_become_their_contents(toolkit, tmp_path, monkeypatch):
    config = toolkit.DictConfig({"width": toolkit.Node(4), "kind": toolkit.Choice.FIRST, "more": [toolkit.Node(None)]})
    torch.save({"cfg": config}, tmp_path / "c.pt")
    monkeypatch.delitem(sys.modules, "omegaconf.made_up")
    assert plain(read_torch(tmp_path / "c.pt", records=("omegaconf",))["cfg"]) == {
        "width": 4,
        "kind": "first",
        "more": [None],
    }
    with pytest.raises(ValueError, match=r"holds omegaconf\.made_up\.\w+, which is not read"):
        read_torch(tmp_path / "c.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_other_functions_are_refused_and_not_called(zipped, tmp_path):
    torch.save({"cfg": Opens(tmp_path / "made")}, tmp_path / "c.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="open, which is not read"):
        read_torch(tmp_path / "c.pt")
    assert not (tmp_path / "made").exists()


def test_functions_of_named_modules_are_not_called_either(tmp_path):
    torch.save({"cfg": Opens(tmp_path / "made")}, tmp_path / "c.pt")
    read = read_torch(tmp_path / "c.pt", records=("io", "_io", "builtins", "__builtin__"))
    assert isinstance(read["cfg"], Record)
    assert not (tmp_path / "made").exists()


def test_modules_that_torch_forbids_stay_forbidden(tmp_path):
    class Removes:
        def __reduce__(self):
            return (os.system, ("touch made",))

    torch.save(Removes(), tmp_path / "c.pt")
    with pytest.raises(ValueError, match="system, which is not read"):
        read_torch(tmp_path / "c.pt", records=("posix", "nt", "os"))


def test_other_files_are_refused(tmp_path):
    torch.save({"w": torch.ones(1000)}, tmp_path / "whole.pt")
    data = (tmp_path / "whole.pt").read_bytes()
    for name, content in (("cut", data[:-500]), ("text", b"no checkpoint"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} is no file of torch.save, or is damaged"):
            read_torch(tmp_path / name)
    (tmp_path / "pointer").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(OSError, match="pointer of Git LFS"):
        read_torch(tmp_path / "pointer")
    with pytest.raises(OSError, match="no file"):
        read_torch(tmp_path / "none")


def test_an_archive_that_grows_is_refused(tmp_path):
    torch.save({"w": torch.zeros(100_000)}, tmp_path / "c.pt")
    with zipfile.ZipFile(tmp_path / "c.pt") as stored, zipfile.ZipFile(tmp_path / "p.pt", "w") as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name), zipfile.ZIP_DEFLATED)
    with pytest.raises(OSError, match=r"p\.pt unpacks to 40\d+ bytes, more than it has"):
        read_torch(tmp_path / "p.pt")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([torch.ones(1)], "weights must be a state dict, got list"),
        ({}, "weights must be a state dict, got dict"),
        ({1: torch.ones(1)}, "got Tensor for 1"),
        ({"w": 3}, "got int for 'w'"),
        ({"w": torch.ones(2, dtype=torch.int64)}, "w in weights is no dense tensor"),
        ({"w": torch.ones(2, 2).to_sparse()}, "w in weights is no dense tensor"),
        ({"w": torch.ones(1).expand(2**40)}, "w in weights is no dense tensor"),
        ({"w": torch.ones(1, device="meta")}, "w in weights is no dense tensor"),
    ],
)
def test_what_is_no_state_dict_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        weights_of(value, "weights")
