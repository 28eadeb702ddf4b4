"""Delegates: what each says of itself, what really ran, and what comes of one that misbehaves."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.bundle import GOLDEN, ModelBundle, load_bundle, write_bundle
from edge_runtime.delegates import NAMES, cpu, gpu, openvino, runtime
from edge_runtime.delegates.edgetpu import EdgeTpuDelegate
from edge_runtime.delegates.isolation import IsolatedModel, Limits
from edge_runtime.engine import RESTARTS
from edge_runtime.errors import DelegateError
from edge_runtime.radiograph import Radiograph, read_radiograph
from edge_runtime.screener import Screener
from edge_runtime.screening import Screening
from tests.conftest import Trained, must, need, osteoedge

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
# What the toy computes to prove itself: six golden vectors, three operators each.
PROOF = 18
# Of a film: itself, mirrored, and one golden vector after it.
FILM = 9


@pytest.fixture(scope="session")
def bundle(trained: Trained) -> ModelBundle:
    return load_bundle(trained.bundle)


@pytest.fixture(scope="session")
def radiograph(trained: Trained) -> Radiograph:
    return read_radiograph(sorted((trained.dataset / "images").iterdir())[0])


@pytest.fixture(scope="session")
def reference(bundle: ModelBundle, radiograph: Radiograph) -> Screening:
    return Screener(bundle, "cpu").screen(radiograph)


def external(bundle: ModelBundle, library: Path, **options: Any) -> Screener:
    """Screen with the toy; what begins with `_` is for the screener, the rest for the toy."""
    own = {key[1:]: options.pop(key) for key in list(options) if key.startswith("_")}
    return Screener(
        bundle,
        "external",
        external_delegate=library,
        external_options={key: str(value) for key, value in options.items()},
        **{"limits": Limits(run=3.0, silence=3.0), **own},
    )


def with_tolerance(bundle: ModelBundle, **changes: dict[str, float]) -> ModelBundle:
    """Return the bundle with other tolerances of some delegates."""
    golden = bundle.manifest.golden
    changed = {
        name: limit.model_copy(update=changes.get(name, {}))
        for name, limit in golden.tolerance.items()
    }
    golden = golden.model_copy(update={"tolerance": changed})
    return dataclasses.replace(
        bundle, manifest=bundle.manifest.model_copy(update={"golden": golden})
    )


def same(found: Screening, reference: Screening) -> None:
    assert found.probabilities is not None and reference.probabilities is not None
    for label, probability in reference.probabilities.items():
        assert found.probabilities[label] == pytest.approx(probability, abs=0.1)


def test_an_external_delegate_runs_what_it_takes(
    bundle: ModelBundle, radiograph: Radiograph, reference: Screening, toy: Path
) -> None:
    with external(bundle, toy, mode="ok") as screener:
        screening = screener.screen(radiograph)
    same(screening, reference)
    assert screening.delegate.name == "external"
    assert "libtoy_delegate.so" in screening.delegate.version
    assert screening.delegate.rejected == {}
    (degraded,) = screening.degraded
    assert "takes only 3 of" in degraded and "CONV_2D" in degraded


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("create", "cannot be loaded"),
        ("prepare", "failed to prepare"),
        ("invoke", "failed to invoke"),
        ("crash", "SIGSEGV"),
        ("hang", "gave no sign of life|took more than"),
        ("wrong", "does not reproduce golden vector 0"),
        ("none", "takes no operator"),
    ],
)
def test_one_that_misbehaves_from_the_start_never_serves(
    bundle: ModelBundle, radiograph: Radiograph, reference: Screening, toy: Path, mode: str,
    why: str,
) -> None:  # fmt: skip
    with external(bundle, toy, mode=mode) as screener:
        screening = screener.screen(radiograph)
    assert screening.probabilities == reference.probabilities, "no film is lost"
    assert screening.delegate.name == "cpu"
    assert re.search(why, screening.delegate.rejected["external"])
    assert any(what.startswith("external was asked for: ") for what in screening.degraded)
    with pytest.raises(DelegateError, match=why):
        external(bundle, toy, mode=mode, _fallback="forbid")


@pytest.mark.parametrize("mode", ["invoke", "crash", "hang", "wrong"])
def test_one_that_begins_to_misbehave_is_started_again_and_then_replaced(
    bundle: ModelBundle, radiograph: Radiograph, reference: Screening, toy: Path, mode: str
) -> None:
    """It answers one film after every start; each film gets an answer, and a right one."""
    with external(bundle, toy, mode=mode, after=PROOF + FILM) as screener:
        used = []
        for _ in range(RESTARTS + 2):
            screening = screener.screen(radiograph)
            same(screening, reference)
            used.append(screening.delegate.name)
    assert used == ["external"] * (RESTARTS + 1) + ["cpu"]
    assert screening.probabilities == reference.probabilities
    assert any(what.startswith("external was started again: ") for what in screening.degraded)
    assert any(what.startswith("external failed: ") for what in screening.degraded)


def test_where_no_other_may_take_over_the_film_is_an_error_and_can_be_given_again(
    bundle: ModelBundle, radiograph: Radiograph, toy: Path
) -> None:
    with external(bundle, toy, mode="invoke", after=PROOF, _fallback="forbid") as screener:
        for _ in range(2):
            with pytest.raises(DelegateError, match=r"external failed .* no other may take over"):
                screener.screen(radiograph)


def test_a_stopped_process_is_found_by_its_silence(
    bundle: ModelBundle, radiograph: Radiograph, reference: Screening, toy: Path
) -> None:
    limits = Limits(run=60.0, silence=2.0)
    with external(bundle, toy, mode="ok", _limits=limits) as screener:
        (child,) = children()
        os.kill(child, signal.SIGSTOP)
        started = time.monotonic()
        same(screener.screen(radiograph), reference)
        assert time.monotonic() - started < limits.run, "found before the film's time was up"
        assert "gave no sign of life for 2 s" in " ".join(screener.degraded)
        os.kill(children()[0], signal.SIGKILL)
        same(screener.screen(radiograph), reference)
        assert "SIGKILL" in " ".join(screener.degraded)
    assert children() == []


def children() -> list[int]:
    """Return the process ids of this process's children that run a delegate."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            if parent == os.getpid() and b"edge_runtime.delegates.child" in command:
                found.append(int(folder.name))
    return found


def test_the_child_ends_with_its_parent(trained: Trained, toy: Path, tmp_path: Path) -> None:
    """Killed outright in the middle of a film that never ends, the parent leaves nothing behind."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nimport psutil\n"
        "from edge_runtime import Screener, load_bundle, read_radiograph\n"
        "screener = Screener(load_bundle(sys.argv[1]), 'external',"
        " external_delegate=Path(sys.argv[2]), external_options={'mode': 'hang', 'after': '18'})\n"
        "(child,) = psutil.Process().children()\n"
        "print(child.pid, flush=True)\n"
        "screener.screen(read_radiograph(sys.argv[3]))\n"
    )
    film = sorted((trained.dataset / "images").iterdir())[0]
    command = [sys.executable, str(script), str(trained.bundle), str(toy), str(film)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{child}").exists()


def test_a_named_delegate_that_is_not_there(bundle: ModelBundle, radiograph: Radiograph) -> None:
    with Screener(bundle, "edgetpu") as screener:
        screening = screener.screen(radiograph)
    assert screening.delegate.name == "cpu"
    assert "edgetpu" in screening.delegate.rejected
    assert any(what.startswith("edgetpu was asked for: ") for what in screening.degraded)
    with pytest.raises(DelegateError, match="no delegate can run this bundle here"):
        Screener(bundle, "edgetpu", fallback="forbid")


def test_auto_keeps_why_the_better_ones_were_not_used(
    bundle: ModelBundle, reference: Screening
) -> None:
    with Screener(bundle) as screener:
        assert screener.delegate.name == "cpu"
        assert set(screener.delegate.rejected) == {"edgetpu"}
        assert screener.degraded == (), "a unit without an Edge TPU lacks nothing"


def test_a_bundle_that_nothing_reproduces_does_not_serve(
    trained: Trained, bundle: ModelBundle, tmp_path: Path
) -> None:
    """A class probability that moves is refused even where no output moves far."""
    cam = bundle.golden.outputs["cam"].copy()
    cam[..., 2] = np.clip(cam[..., 2], -128, 126) + 1
    golden = dataclasses.replace(bundle.golden, outputs={**bundle.golden.outputs, "cam": cam})
    changed = with_tolerance(bundle, cpu={"probability": 1e-4}).manifest
    path = tmp_path / "strict.osteo"
    write_bundle(path, changed, {**bundle.content, GOLDEN: golden.to_npz()})
    with pytest.raises(DelegateError, match="a probability is off by"):
        Screener(load_bundle(path), "cpu", fallback="forbid")


def test_each_delegate_has_a_tolerance_of_its_own(bundle: ModelBundle, toy: Path) -> None:
    """The one that the toy's answer fits, and one that it does not: neither is the CPU's."""
    assert set(bundle.manifest.golden.tolerance) == set(NAMES)
    wide = {"max_steps": 255.0, "mean_steps": 255.0, "probability": 1.0}
    with external(with_tolerance(bundle, external=wide), toy, mode="wrong") as screener:
        assert screener.delegate.name == "external"
    tight = with_tolerance(bundle, cpu=wide)
    with pytest.raises(DelegateError, match="external does not reproduce golden vector 0"):
        external(tight, toy, mode="wrong", _fallback="forbid")
    golden = bundle.manifest.golden
    named = {name: limit for name, limit in golden.tolerance.items() if name != "external"}
    silent = dataclasses.replace(
        bundle,
        manifest=bundle.manifest.model_copy(
            update={"golden": golden.model_copy(update={"tolerance": named})}
        ),
    )
    with pytest.raises(DelegateError, match="does not say how closely external must reproduce"):
        external(silent, toy, _fallback="forbid")


def test_the_cpu_takes_every_convolution(bundle: ModelBundle) -> None:
    loaded = cpu.CpuDelegate().load(bundle.model, bundle.manifest.model, 1)
    assert loaded.coverage.total > 50
    assert set(loaded.coverage.left) <= {"RESIZE_NEAREST_NEIGHBOR"}
    assert str(loaded.coverage).startswith(f"{loaded.coverage.total - 3} of")


def test_a_unit_without_runtime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "RUNTIMES", [("tflite-runtime", "no_such_module")])
    assert "pip install ai-edge-litert" in cpu.CpuDelegate().probe().reason


def test_the_gpu_on_a_software_driver(
    bundle: ModelBundle, radiograph: Radiograph, reference: Screening,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whatever the driver's file is called: it is the device that says what it is."""
    need(SWIFTSHADER.is_file(), "a Vulkan driver (Debian packages chromium-common, libvulkan1)")
    monkeypatch.setenv("VK_ICD_FILENAMES", str(SWIFTSHADER))
    assert "computes on the CPU" in gpu.GpuDelegate().probe().degraded
    driver = json.loads(SWIFTSHADER.read_text())
    library = SWIFTSHADER.parent / driver["ICD"]["library_path"]
    driver["ICD"]["library_path"] = str(library)
    (tmp_path / "card_icd.json").write_text(json.dumps(driver))
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "card_icd.json"))
    assert gpu.GpuDelegate().probe().degraded == ""
    with Screener(
        bundle, "gpu", fallback="forbid", limits=Limits(run=60.0, silence=60.0)
    ) as screener:
        screening = screener.screen(radiograph)
    same(screening, reference)
    assert screening.delegate.name == "gpu"
    assert "the Vulkan driver computes on the CPU" in " ".join(screening.degraded)


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "refused"),
    [("aarch64", "Features\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\n", True),
     ("aarch64", "Features\t: fp asimd evtstrm crc32 atomics cpuid\nCPU part\t: 0xd0b\n", False),
     ("aarch64", "", False),
     ("x86_64", "flags\t\t: fpu cx8\n", False)],
)  # fmt: skip
def test_an_arm_processor_that_the_accelerator_would_crash_on(
    machine: str, cpuinfo: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(gpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    probe = gpu.GpuDelegate().probe()
    assert ("LSE" in probe.reason) == refused
    assert not (refused and probe.available)


def test_a_gpu_without_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", "/nonexistent.json")
    probe = gpu.GpuDelegate().probe()
    assert not probe.available
    assert "Vulkan" in probe.reason


def test_openvino_really_runs(
    bundle: ModelBundle, radiograph: Radiograph, reference: Screening
) -> None:
    probe = openvino.OpenVinoDelegate().probe()
    need(probe.available, f"the extra 'openvino' ({probe.reason})")
    with Screener(bundle, "openvino", fallback="forbid") as screener:
        screening = screener.screen(radiograph)
        (child,) = children()
        assert "libopenvino_intel_cpu_plugin" in Path(f"/proc/{child}/maps").read_text()
    same(screening, reference)
    assert screening.probabilities != reference.probabilities, "it does not round as the CPU does"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no Edge TPU on PCIe or USB"),
        ({"sys/bus/pci/devices/0/vendor": "0x1ac1\n", "sys/bus/pci/devices/0/device": "0x089a\n"},
         "its driver (gasket, apex) is not loaded"),
        ({"sys/class/apex/apex_0/status": "ALIVE"}, "is missing: load gasket and apex"),
        ({"sys/class/apex/apex_0/status": "ALIVE", "dev/apex_0": ""},
         "(PCIe apex_0), but libedgetpu.so.1 is not installed"),
        ({"sys/bus/usb/devices/1-2/idVendor": "1a6e\n",
          "sys/bus/usb/devices/1-2/idProduct": "089a\n"},
         "(USB 1-2), but libedgetpu.so.1 is not installed"),
    ],
)  # fmt: skip
def test_an_edge_tpu_is_looked_for_where_the_system_tells(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    probe = EdgeTpuDelegate(tmp_path).probe()
    assert not probe.available
    assert reason in probe.reason


def test_an_edge_tpu_that_is_there(tmp_path: Path, bundle: ModelBundle, toy: Path) -> None:
    """The code path of a real stick, as far as it goes without one."""
    for name, text in (("idVendor", "18d1\n"), ("idProduct", "9302\n")):
        file = tmp_path / "sys/bus/usb/devices/2-1" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    delegate = EdgeTpuDelegate(tmp_path, library=str(toy))
    probe = delegate.probe()
    assert probe.available
    assert probe.version.endswith("libtoy_delegate.so, USB 2-1")
    loaded = delegate.load(bundle.model, bundle.manifest.model, 1)
    assert "takes only 3 of" in loaded.degraded
    loaded.close()
    with pytest.raises(DelegateError, match="is in use by another process"):
        runtime.load_native_delegate(
            str(toy), {"mode": "create"}, "the device is in use by another process"
        )


def test_an_isolated_model_that_was_closed(bundle: ModelBundle) -> None:
    probe = openvino.OpenVinoDelegate().probe()
    need(probe.available, f"the extra 'openvino' ({probe.reason})")
    delegate, spec = openvino.OpenVinoDelegate(), bundle.manifest.model
    model = IsolatedModel(delegate, bundle.model, spec, 1, Limits())
    model.close()
    model.close()
    with pytest.raises(DelegateError, match="has ended"):
        model.run(np.zeros(spec.input.shape, np.int8))


def test_doctor_names_every_delegate(trained: Trained, toy: Path) -> None:
    result = must(
        osteoedge("doctor", "--bundle", trained.bundle, "--external-delegate", toy,
                  "--external-option", "mode=wrong", "--json")
    )  # fmt: skip
    found = json.loads(result.stdout)
    by_name = {row["name"]: row for row in found["delegates"]}
    assert set(by_name) == set(NAMES)
    assert by_name["cpu"]["golden"] == "reproduced"
    assert by_name["cpu"]["golden_distance"]["mean_steps"] < 4.0
    assert by_name["external"]["golden_distance"] is None
    assert by_name["external"]["golden"] == "failed"
    assert "golden vector 0" in by_name["external"]["golden_reason"]
    assert by_name["edgetpu"]["reason"]
    assert found["codings"]["JPEG Extended (Process 2 and 4)"] is True
    assert found["serves"] is True
    table = must(osteoedge("doctor"))
    assert "Next: osteoedge doctor --bundle" in table.stdout
    for name in NAMES:
        assert name in table.stdout


def test_the_command_line_says_what_it_fell_back_from(
    trained: Trained, toy: Path, tmp_path: Path
) -> None:
    film = sorted((trained.dataset / "images").iterdir())[0]
    command = ["screen", film, "--bundle", trained.bundle, "--out", tmp_path,
               "--delegate", "external", "--external-delegate", toy,
               "--external-option", "mode=crash"]  # fmt: skip
    result = must(osteoedge(*command))
    assert "Degraded: external was asked for: " in result.stderr
    assert "SIGSEGV" in json.loads((tmp_path / f"{film.stem}.json").read_text())["degraded"][0]
    refused = osteoedge(*command, "--fallback", "forbid")
    assert refused.returncode == 1
    assert "SIGSEGV" in refused.stderr and "Traceback" not in refused.stderr
    wrong = osteoedge(*command[:-1], "mode")
    assert wrong.returncode == 2
    assert "is no KEY=VALUE" in wrong.stderr
