"""Recognises files by their first bytes, not by name: torchreid names checkpoints "model.pth.tar-60"."""

HEAD = 10
"""How many bytes are read."""
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""The first bytes of torch's files: since torch 1.6, and before."""
PROTOCOLS = (2, 3, 4, 5)


def looks_like_checkpoint(head: bytes) -> bool:
    """Whether a file with these first bytes is a torch or safetensors file."""
    return head.startswith(ZIP) or is_pickle(head) or is_safe(head)


def is_safe(head: bytes) -> bool:
    """Whether it begins as safetensors does: with the length of a JSON object and the object's opening brace."""
    return head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 1 << 40


def is_pickle(head: bytes) -> bool:
    return head[:1] == PICKLE and head[1:2] != b"" and head[1] in PROTOCOLS
