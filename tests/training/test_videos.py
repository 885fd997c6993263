"""Folders of videos as clips: what is found, what is left out, and frames from any place."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from avgen_core.training import video_file as video_file_module
from avgen_core.training import video_index as video_index_module
from avgen_core.training.video_file import measure, read_frames
from avgen_core.training.videos import NO_CLASS, ClipSpec, RandomClips, VideoFolder, to_square
from tests.training.small import write_clip


@pytest.fixture
def folder(tmp_path):
    """Two classes, a video without a class, an image, and a text that is neither."""
    videos = tmp_path / "videos"
    write_clip(videos / "cats" / "a.mp4", 20)
    write_clip(videos / "dogs" / "deep" / "b.mkv", 9, codec="mpeg4")
    write_clip(videos / "c.avi", 5, codec="mpeg4")
    Image.fromarray(np.full((30, 20, 3), 200, np.uint8)).save(videos / "cats" / "still.png")
    (videos / "notes.txt").write_text("not a video")
    return videos


def opened(folder, tmp_path, size: int = 16) -> VideoFolder:
    return VideoFolder(folder, size, tmp_path / "cache")


def test_subfolders_are_classes_and_images_are_videos_of_one_frame(folder, tmp_path):
    source = opened(folder, tmp_path)
    assert source.classes == ("cats", "dogs")
    assert [(v.name, v.frames, v.label) for v in source.videos] == [
        ("c.avi", 5, NO_CLASS),
        ("cats/a.mp4", 20, 0),
        ("cats/still.png", 1, 0),
        ("dogs/deep/b.mkv", 9, 1),
    ]


def test_a_second_opening_reads_only_what_has_changed(folder, tmp_path, monkeypatch):
    opened(folder, tmp_path)
    read = []
    monkeypatch.setattr(video_index_module, "measure", lambda path: read.append(path.name) or measure(path))
    write_clip(folder / "new.mp4", 3)
    write_clip(folder / "c.avi", 7, codec="mpeg4")
    (folder / "cats" / "a.mp4").unlink()
    frames = {video.name: video.frames for video in opened(folder, tmp_path).videos}
    assert sorted(read) == ["c.avi", "new.mp4"]
    assert frames == {"c.avi": 7, "cats/still.png": 1, "dogs/deep/b.mkv": 9, "new.mp4": 3}


def test_damaged_files_are_named_and_left_out(folder, tmp_path, caplog):
    whole = (folder / "cats" / "a.mp4").read_bytes()
    (folder / "cats" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.webm").touch()
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    names = [video.name for video in opened(folder, tmp_path).videos]
    assert len(names) == 4
    for name in ("cats/cut.mp4", "empty.webm", "broken.png"):
        assert f"left out, since it cannot be read: {name}" in caplog.text


def test_a_folder_without_videos_is_an_error(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"holds no videos or images: files must end in .*\.mp4"):
        opened(tmp_path, tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        opened(tmp_path / "missing", tmp_path)
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    with pytest.raises(FileNotFoundError, match="none of the 1 videos and images"):
        opened(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("b-frames.mp4", "libx264", {"g": 12, "bf": 3}),
        ("open-groups.mkv", "libx264", {"g": 14, "bf": 2, "x264-params": "open-gop=1"}),
        ("stream.ts", "mpeg2video", {"g": 13, "bf": 2}),
        ("old.avi", "mpeg4", {"g": 12}),
        ("all-keys.mov", "mjpeg", {}),
    ],
)
def test_a_clip_from_the_middle_is_the_same_as_in_the_whole_video(tmp_path, name, codec, options):
    path = tmp_path / name
    write_clip(path, 60, codec=codec, **options)
    measured = measure(path)
    assert measured.frames == 60
    whole = list(read_frames(path, (), 0, 60))
    for start, count, step in ((0, 3, 1), (11, 4, 1), (12, 3, 2), (29, 5, 3), (47, 13, 1), (59, 1, 1)):
        clip = list(read_frames(path, measured.entries, start, count, step))
        assert np.array_equal(clip, whole[start : start + count * step : step])


def test_a_clip_is_read_from_the_key_frame_before_it(tmp_path, monkeypatch):
    path = tmp_path / "long.mp4"
    write_clip(path, 80, g=20, bf=0, sc_threshold=0)
    entries = measure(path).entries
    assert [entry.frame for entry in entries] == [0, 20, 40, 60]
    skipped = []
    pictures = video_file_module._pictures
    monkeypatch.setattr(video_file_module, "_pictures", lambda frames, n: skipped.append(n) or pictures(frames, n))
    list(read_frames(path, entries, 65, 2))
    assert skipped == [5]


def test_frames_are_scaled_and_cut_to_squares_as_the_official_data_set_does_it():
    frame = np.random.default_rng(0).integers(0, 255, (45, 80, 3)).astype(np.uint8)
    scaled = transforms.Resize(16, interpolation=transforms.InterpolationMode.BICUBIC)
    theirs = transforms.CenterCrop(16)(scaled(torch.from_numpy(frame).permute(2, 0, 1) / 255))
    mine = to_square(frame, 16)
    torch.testing.assert_close(mine, theirs.clamp(0, 1), atol=1e-6, rtol=0)
    assert torch.equal(to_square(frame[:, :45], 45), torch.from_numpy(frame[:, :45]).permute(2, 0, 1) / 255)


def test_clips_are_a_function_of_seed_step_and_row(folder, tmp_path):
    clips = RandomClips(opened(folder, tmp_path), ClipSpec(4, frame_step=2, stride=3))
    assert len(clips.table) == 6, "a.mp4 starts at 0, 3, 6, 9, 12, and b.mkv at 0"
    batch = clips.draw(0, 5, 6, slice(0, 6))
    assert batch.shape == (6, 4, 3, 16, 16)
    assert 0 <= batch.min() < batch.max() <= 1
    assert torch.equal(clips.draw(0, 5, 6, slice(2, 4)), batch[2:4])
    assert not torch.equal(clips.draw(0, 6, 6, slice(0, 6)), batch)
    with pytest.raises(ValueError, match=r"no video has the 31 frames that a clip spans .* the longest has 20"):
        RandomClips(opened(folder, tmp_path), ClipSpec(16, frame_step=2))


def test_phone_footage_stands_upright(tmp_path):
    """Its frames lie on their side, and the file says how to turn them."""
    lying, turned = tmp_path / "lying.mp4", tmp_path / "turned.mp4"
    write_clip(lying, 3, (32, 24))
    turned.write_bytes(quarter_turn_clockwise(lying.read_bytes()))
    for raw, shown in zip(read_frames(lying, (), 0, 3), read_frames(turned, (), 0, 3), strict=True):
        assert shown.shape == (32, 24, 3)
        assert np.array_equal(shown, np.rot90(raw, -1))


def quarter_turn_clockwise(mp4: bytes) -> bytes:
    """The same file with another display matrix in its track header (ISO 14496-12, 8.3.2)."""
    matrix = mp4.index(b"tkhd") + 4 + 40
    turn = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 24 << 16, 0, 1 << 30)
    return mp4[:matrix] + turn + mp4[matrix + len(turn) :]


def test_photos_stand_upright(tmp_path):
    picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    orientation = Image.Exif()
    orientation[0x0112] = 6  # to be turned clockwise
    picture.save(tmp_path / "photo.png", exif=orientation)
    (shown,) = read_frames(tmp_path / "photo.png", (), 0, 1)
    assert np.array_equal(shown, np.rot90(np.asarray(picture), -1))
