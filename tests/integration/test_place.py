"""What is at `store.path` is looked at before anything is touched."""

import errno
import os
from pathlib import Path

import pytest

from leanbase_relay.errors import StoreError, StoreUnavailable, StoreUnusable
from leanbase_relay.store import place


def test_nothing_and_a_file_are_fine(tmp_path: Path) -> None:
    place.check(tmp_path / "relay.db")
    (tmp_path / "relay.db").touch()
    (tmp_path / "relay.db-wal").touch()

    place.check(tmp_path / "relay.db")


@pytest.mark.parametrize(
    ("path", "is_a"), [("/", "a directory"), ("/dev/null", "a device")]
)
def test_what_is_no_file_is_named(path: str, is_a: str) -> None:
    with pytest.raises(StoreUnusable, match=is_a):
        place.check(Path(path))


def test_a_path_through_a_file_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnusable, match=r"change store\.path"):
        place.check(tmp_path / "file" / "relay.db")


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreUnusable, match=r"change store\.path"):
        place.make_directory(tmp_path / "file" / "below" / "it")


def test_directories_are_made_down_to_the_last(tmp_path: Path) -> None:
    place.make_directory(tmp_path / "a" / "b")
    place.make_directory(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.EACCES, StoreUnusable, "sudo chown"),
        (errno.EPERM, StoreUnusable, "sudo chown"),
        (errno.EROFS, StoreUnavailable, "can only be read"),
        (errno.ENAMETOOLONG, StoreUnusable, "change store.path"),
        (errno.ENOSPC, StoreUnavailable, "No space left"),
        (errno.EIO, StoreUnavailable, "Input/output error"),
    ],
)
def test_each_refusal_has_its_sentence_and_its_exit_code(
    tmp_path: Path, number: int, kind: type[StoreError], says: str
) -> None:
    error = place.refusal(tmp_path / "relay.db", OSError(number, os.strerror(number)))

    assert type(error) is kind
    assert says in str(error)
    assert str(tmp_path) in str(error)
    assert kind.exit_code == (78 if kind is StoreUnusable else 1)


def test_a_user_without_a_name_has_a_number() -> None:
    assert place.name_of_user(2**31 - 5) == str(2**31 - 5)
    assert place.name_of_group(2**31 - 5) == str(2**31 - 5)
    assert place.name_of_user(0) == "root"
