"""Find files of this machine that the cells of an input name: other machines may not have them."""

from mayfly.inference.media import PART_BYTES, media_columns, named_files
from mayfly.planning.preview import PREVIEW_ROWS, JobPreview
from mayfly.storage.media_files import LocalFile


def local_file_of(preview: JobPreview) -> LocalFile | None:
    """Return a readable local file that one of the first rows names, or None."""
    media, columns = preview.media, media_columns(preview.job.prompt)
    if media is None or not columns:
        return None
    dataset, names = preview.dataset, {column.name for column in columns}
    for chunk in dataset.read(0, min(PREVIEW_ROWS, dataset.rows), sorted(names)):
        for name in named_files(columns, chunk.columns, chunk.rows):
            if media.is_local(name):
                try:
                    media.read(name, PART_BYTES)
                except ValueError:
                    continue  # An error of its row, wherever it is sent.
                return LocalFile(media, name)
    return None
