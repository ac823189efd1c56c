"""Fixtures of the tests that these share: the real data, a small plant."""

from tests.conftest import data_dir
from tests.train.conftest import write_plant_fixture

__all__ = ["data_dir", "write_plant_fixture"]
