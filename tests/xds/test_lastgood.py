"""The last-known-good file."""

import json

from rollouts.xds import lastgood
from rollouts.xds.launch import read_address, socket_of
from rollouts.xds.snapshot import Address, snapshot
from tests.xds.shop import NEW, OLD, mesh, service, target

KEPT = snapshot(mesh(service(target(OLD, 1), target(NEW, 2), weights={OLD: 90, NEW: 10})))


def test_what_is_saved_is_loaded(tmp_path):
    lastgood.save(tmp_path, "shop / Übung", KEPT)
    assert lastgood.load(tmp_path, "shop / Übung") == KEPT
    assert lastgood.load_all(tmp_path) == {"shop / Übung": KEPT}


def test_saving_leaves_only_the_whole_file(tmp_path):
    lastgood.save(tmp_path, "shop", KEPT)
    lastgood.save(tmp_path, "shop", KEPT)
    assert [path.name for path in tmp_path.iterdir()] == ["shop.lastgood.json"]


def test_there_is_none_before_the_first(tmp_path):
    assert lastgood.load(tmp_path, "shop") is None


def test_a_torn_or_edited_file_counts_as_none(tmp_path):
    path = lastgood.path_of(tmp_path, "shop")
    path.write_text(lastgood.dumps(KEPT)[:100])
    assert lastgood.load(tmp_path, "shop") is None
    edited = json.loads(lastgood.dumps(KEPT))
    edited["resources"].popitem()
    path.write_text(json.dumps(edited))
    assert lastgood.load(tmp_path, "shop") is None


def test_a_socket_path_fits_whatever_the_directory(tmp_path):
    assert len(socket_of(tmp_path / ("x" * 200), "n1")) < 107


def test_an_address_is_a_host_and_a_port():
    assert read_address("127.0.0.1:80") == Address("127.0.0.1", 80)
    assert read_address("[::1]:80") == Address("::1", 80)
