"""Digest a dictionary: its weight files, and how they are read."""

from interp.dictionary.formats import header_of
from interp.domain.digests import IDENTITY_VERSION, digest_of
from interp.domain.spec import DictionarySpec
from interp.security.allowed_files import file_digest


def dictionary_digest(spec: DictionarySpec) -> str:
    """The content of the weight files, and how they are read."""
    header = header_of(spec)
    digests = {path.name: file_digest(path) for path in header.files}
    # Names in hashed identities stay as they were first written: `features` is n_features, `width` d_in.
    facts = {"format": header.format, "hook_point": header.hook_point, "features": header.n_features, "width": header.d_in}
    return digest_of({"version": IDENTITY_VERSION, "files": digests, **facts})
