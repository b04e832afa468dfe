"""What holds for every test: no network, no display, reproducible examples, one thread a process under xdist."""

import os
import socket
from ipaddress import ip_address

import hypothesis
import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports Triton: GPU kernels run on the CPU

hypothesis.settings.register_profile("project", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("project")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


# TEST_DEVICE=cuda makes tensors and models of the tests on a GPU: the same properties, of what runs there. Tests that
# move things themselves, or read them from files, do not all fit.
if TEST_DEVICE := os.environ.get("TEST_DEVICE"):

    class GeneratorThere(torch.Generator):
        """What draws tensors must be where they are."""

        def __new__(cls, device: str | None = TEST_DEVICE) -> "GeneratorThere":
            return super().__new__(cls, device=device)

    torch.set_default_device(TEST_DEVICE)
    torch.backends.cudnn.allow_tf32 = False  # which rounds float32 to ten bits
    torch.Generator = GeneratorThere  # type: ignore[misc]


# Marks that the tests of transformers carry, which tests/conformance runs.
MARKS_OF_TRANSFORMERS = (
    *("accelerate_tests", "flash_attn_test", "flash_attn_3_test", "flash_attn_4_test"),
    *("is_training_test", "is_pipeline_test", "torch_compile_test", "torch_export_test", "generate", "order"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Makes these marks known."""
    for name in MARKS_OF_TRANSFORMERS:
        config.addinivalue_line("markers", f"{name}: of the tests of transformers")


@pytest.hookimpl(tryfirst=True)  # before pytest itself selects by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the contacts with transformers; tests marked ``gpu`` run where there is a CUDA device."""
    from contact import is_contact  # here, after the settings above: it imports the models

    for item in items:
        if is_contact(item):
            item.add_marker(pytest.mark.contact)
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def is_local(address: object) -> bool:
    """Whether a socket address stays on this machine."""
    if not isinstance(address, tuple):
        return True  # a path: a Unix socket
    host = str(address[0])
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("localhost", "")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for the network fails, instead of passing only where there is one."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if not is_local(address):
            raise OSError(f"tests must not use the network, tried {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test starts from the same random numbers, whatever ran before it."""
    torch.manual_seed(0)
