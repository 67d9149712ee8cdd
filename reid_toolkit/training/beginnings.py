"""What a file is by its first bytes, whatever it is called: torchreid names checkpoints "model.pth.tar-60"."""

HEAD = 10
"""Bytes that are looked at."""
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""How files of torch begin: since 1.6, and before."""
PROTOCOLS = (2, 3, 4, 5)


def looks_like_checkpoint(head: bytes) -> bool:
    """Whether a file that begins like this is one of torch or of safetensors, whatever it is called."""
    return head.startswith(ZIP) or is_pickle(head) or is_safe(head)


def is_safe(head: bytes) -> bool:
    """Whether it begins as safetensors does: the length of a JSON object, and that one's brace."""
    return head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < 1 << 40


def is_pickle(head: bytes) -> bool:
    return head[:1] == PICKLE and head[1:2] != b"" and head[1] in PROTOCOLS
