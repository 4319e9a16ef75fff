from __future__ import annotations

import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from vgg_runtime.errors import ImageError, MissingCapabilityError, RefusedInputError, UsageError
from vgg_runtime.imaging.decode import read_image
from vgg_score.sources.registry import SOURCES, span_from_json, span_to_json, spans_of
from vgg_score.sources.span import KeptOpen, SourceOptions, Span

WriteRows = Callable[..., Path]


def spans(*sources: str | Path, size: int = 7, **options: str) -> list[Span]:
    return list(spans_of(map(str, sources), SourceOptions(size, **options)))


def colours(some: list[Span]) -> list[tuple[str, str]]:
    """Id and colour of every image, decoded."""
    with closing(KeptOpen()) as kept:
        items = [item for span in some for item in span.read(kept)]
    pixels = [(id_, read_image(read()).convert("RGB").getpixel((0, 0))) for id_, read in items]
    names = {(255, 0, 0): "red", (0, 255, 0): "lime", (0, 0, 255): "blue"}
    return [(id_, names[pixel]) for id_, pixel in pixels]  # type: ignore[index]


EXPECTED = [("red", "lime", "blue")[number % 3] for number in range(40)]


def test_folder_gives_its_images_in_order(many_photos: Path) -> None:
    images = colours(spans(many_photos))
    assert [Path(id_) for id_, _ in images] == sorted(many_photos.glob("*/*.png"))
    assert [colour for _, colour in images] == EXPECTED


def test_glob_gives_matches_in_order(many_photos: Path) -> None:
    assert [colour for _, colour in colours(spans(many_photos / "*" / "*.png"))] == EXPECTED


def test_glob_of_folders_gives_their_images(many_photos: Path) -> None:
    assert colours(spans(many_photos / "*")) == colours(spans(many_photos))


def test_list_gives_a_path_on_each_line(many_photos: Path, tmp_path: Path) -> None:
    files = sorted(map(str, many_photos.glob("*/*.png")))
    (tmp_path / "list.txt").write_text("\r\n".join([*files[:30], "", *files[30:]]))
    assert colours(spans(tmp_path / "list.txt")) == list(zip(files, EXPECTED, strict=True))


def test_tar_gives_its_image_files(tar_of_photos: Path) -> None:
    images = colours(spans(tar_of_photos))
    assert images[1] == (f"{tar_of_photos}/001-lime.png", "lime")
    assert [colour for _, colour in images] == EXPECTED


@pytest.mark.parametrize("rows_per_group", [40, 9, 1])
def test_parquet_gives_bytes_by_file_and_row(parquet_of_photos: WriteRows, rows_per_group: int) -> None:
    file = parquet_of_photos(rows_per_group=rows_per_group)
    assert colours(spans(file)) == [(f"{file}#{row}", colour) for row, colour in enumerate(EXPECTED)]


def test_parquet_gives_ids_of_a_column(parquet_of_photos: WriteRows) -> None:
    file = parquet_of_photos(key=[*map(str, range(39)), None])
    ids = [id_ for id_, _ in colours(spans(file, column="image", id_column="key"))]
    assert ids == [*map(str, range(39)), f"{file}#39"]


@pytest.mark.parametrize(
    "as_value",
    [
        str,
        lambda file: {"bytes": file.read_bytes(), "path": file.name},
        lambda file: {"bytes": None, "path": str(file)},
    ],
    ids=["paths", "bytes of datasets", "paths of datasets"],
)
def test_parquet_gives_paths_and_structs(parquet_of_photos: WriteRows, as_value: Callable[[Path], object]) -> None:
    assert [colour for _, colour in colours(spans(parquet_of_photos(as_value)))] == EXPECTED


def test_row_without_image_is_an_image_error(parquet_of_photos: WriteRows) -> None:
    file = parquet_of_photos(lambda file: None if file.stem.startswith("003") else file.read_bytes())
    with closing(KeptOpen()) as kept:
        images = dict(item for span in spans(file) for item in span.read(kept))
    with pytest.raises(ImageError, match=r"photos\.parquet#3 holds no image, but None\."):
        images[f"{file}#3"]()
    assert images[f"{file}#4"]()


def test_urls_of_fsspec_give_the_same(many_photos: Path, tar_of_photos: Path, parquet_of_photos: WriteRows) -> None:
    pytest.importorskip("fsspec")
    for source in (many_photos, many_photos / "*" / "*.png", tar_of_photos, parquet_of_photos()):
        by_path, by_url = colours(spans(source)), colours(spans(f"file://{source}"))
        assert by_url == [(f"file://{id_}", colour) for id_, colour in by_path]


def test_missing_url_is_an_image_error(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    (tmp_path / "list.txt").write_text(f"file://{tmp_path}/none.png")
    [(_, read)] = spans(tmp_path / "list.txt")[0].read(KeptOpen())
    with pytest.raises(ImageError, match=r"there is no file file://.*/none\.png\."):
        read()


@pytest.mark.parametrize("kind", ["folder", "tar", "parquet"])
def test_spans_read_in_any_order_give_the_same(
    many_photos: Path, tar_of_photos: Path, parquet_of_photos: WriteRows, kind: str
) -> None:
    source = {"folder": many_photos, "tar": tar_of_photos, "parquet": parquet_of_photos(rows_per_group=9)}[kind]
    several = spans(source)
    assert [span.images for span in several] == [7, 7, 7, 7, 7, 5]
    expected = [colours([span]) for span in several]
    order = (0, 2, 4, 3, 1, 5, 5, 0)
    copies = [span_from_json(span_to_json(several[index])) for index in order]
    assert copies == [several[index] for index in order]
    assert colours(copies) == [image for index in order for image in expected[index]]


def test_every_kind_of_source_joins_one_run(
    many_photos: Path, tar_of_photos: Path, parquet_of_photos: WriteRows
) -> None:
    single = many_photos / "0" / "000-red.png"
    sizes = [span.images for span in spans(single, many_photos, tar_of_photos, parquet_of_photos(), single, size=25)]
    assert sizes == [25, 16, 25, 15, 25, 15, 1]  # images that are files share spans, archives do not
    assert set(SOURCES) == {".parquet", ".tar", ".txt"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "there is no file or folder .*none"),
        ("*.none", r"nothing matches .*\*\.none"),
        ("empty", "the folder .*empty contains no images"),
        ("text.tar", "text.tar cannot be read as an uncompressed tar archive"),
        ("packed.tar", "packed.tar cannot be read as an uncompressed tar archive"),
        ("text.parquet", "text.parquet cannot be read as a Parquet file"),
    ],
)
def test_unreadable_source_is_refused(tar_of_photos: Path, tmp_path: Path, name: str, message: str) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "empty").mkdir()
    for file in ("text.tar", "text.parquet"):
        (tmp_path / file).write_text("hello")
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        archive.add(tmp_path / "text.tar")
    (tmp_path / "cut.tar").write_bytes(tar_of_photos.read_bytes()[:3000])
    with pytest.raises(RefusedInputError, match=message):
        spans(tmp_path / name)


def test_tar_cut_anywhere_is_refused(tar_of_photos: Path, tmp_path: Path) -> None:
    whole = tar_of_photos.read_bytes()
    # An odd number of bytes: what ends between two blocks is a shorter archive.
    for length in range(1, len(whole.rstrip(b"\0")), 1234):
        (tmp_path / "cut.tar").write_bytes(whole[: length | 1])
        with pytest.raises(RefusedInputError, match="cannot be read as an uncompressed tar archive"):
            spans(tmp_path / "cut.tar")


def test_tar_with_damaged_header_is_refused(tar_of_photos: Path) -> None:
    data = bytearray(tar_of_photos.read_bytes())
    with tarfile.open(tar_of_photos) as archive:
        member = archive.getmembers()[60]
    data[member.offset_data - tarfile.BLOCKSIZE] ^= 0xFF
    tar_of_photos.write_bytes(data)
    with pytest.raises(RefusedInputError, match="header"):
        spans(tar_of_photos)


def test_file_with_magic_characters_is_itself(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10), "lime").save(tmp_path / "[a]*.png")
    assert colours(spans(tmp_path / "[a]*.png")) == [(f"{tmp_path}/[a]*.png", "lime")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "photo"}, "has no column 'photo'. Its columns: image, thumbnail, key."),
        ({"id_column": "name", "column": "image"}, "has no column 'name'. Its columns: image, thumbnail, key."),
        ({}, "has several columns that may hold the images: image, thumbnail."),
    ],
)
def test_parquet_column_must_be_clear(parquet_of_photos: WriteRows, options: dict[str, str], message: str) -> None:
    file = parquet_of_photos(thumbnail=[b""] * 40, key=["a"] * 40)
    with pytest.raises((UsageError, RefusedInputError), match=message):
        spans(file, **options)


def test_parquet_without_images_is_refused(parquet_of_photos: WriteRows) -> None:
    with pytest.raises(RefusedInputError, match="has no column that may hold the images: image"):
        spans(parquet_of_photos(lambda file: 1.0))


def test_protocol_without_its_package_says_which() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(MissingCapabilityError, match=r"s3:// needs a package that is not installed: .*s3fs"):
        spans("s3://bucket/photos")


def test_unknown_protocol_is_refused() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(UsageError, match="fsspec does not know the protocol nowhere"):
        spans("nowhere://bucket/photos")
