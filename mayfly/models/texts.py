"""Text that can be written as UTF-8."""


def without_halves(text: str) -> str:
    """Return a text with U+FFFD for each half of a surrogate pair, which has no UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
