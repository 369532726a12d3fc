"""Blocks, threads and progress."""

import logging
import time
from contextvars import ContextVar

from sklearn import config_context, get_config

from sklearn_influence._parallel import block_size, blocks, progress, threads


def test_blocks_cover_everything_once():
    for n in (0, 1, 5, 6, 7):
        assert [i for part in blocks(n, 3) for i in range(n)[part]] == list(range(n))


def test_block_size_follows_working_memory():
    with config_context(working_memory=1):
        assert block_size(2**10) == 1024
        assert block_size(2**10, share=0.5) == 512
        assert block_size(2**30) == 1
        assert block_size(2**30, smallest=4) == 4
        assert block_size(1) == 8192
        assert block_size(0) == 8192


def test_threads_keep_the_order():
    assert threads(lambda i: i * i, range(5), n_jobs=2) == [0, 1, 4, 9, 16]


def test_every_item_runs_in_a_copy_of_the_callers_context():
    """Also those that joblib takes up from threads of its own, after the first few of each worker."""
    name = ContextVar("name", default="nobody")
    name.set("the caller")

    def ask(i):
        time.sleep(0.001)
        seen = name.get(), get_config()["working_memory"]
        name.set(i)
        return seen

    with config_context(working_memory=7):
        assert threads(ask, range(40), n_jobs=2) == [("the caller", 7)] * 40
    assert name.get() == "the caller"


def test_progress_is_silent_unless_asked(caplog):
    with caplog.at_level(logging.INFO, logger="sklearn_influence"):
        assert list(progress([1, 2], 0, "work")) == [1, 2]
        assert not caplog.records
        assert list(progress([1, 2], 1, "work")) == [1, 2]
    assert "work: 2 of 2 blocks" in caplog.text
