import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Thousands of tiny tensors: a second thread only waits, and on a busy machine that takes minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
