"""Figures that benchmarks/hlo.py reads from a program's text."""

import hlo

TEXT = """HloModule jit_step, is_scheduled=true

%fused_part (param_0: f32[8,4], param_1: s32[]) -> f32[1,4] {
  %param_0 = f32[8,4]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice = f32[1,4]{1,0} dynamic-slice(%param_0, %param_1, %zero), dynamic_slice_sizes={1,4}
}

%fused_turn (param_0.1: f32[4096,1024]) -> bf16[1024,4096] {
  %param_0.1 = f32[4096,1024]{1,0} parameter(0)
  %turned = f32[1024,4096]{1,0} transpose(%param_0.1), dimensions={1,0}
  ROOT %rounded = bf16[1024,4096]{1,0} convert(%turned)
}

%body (carry: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %carry = (s32[], f32[8,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %x = f32[8,4]{1,0} get-tuple-element(%carry), index=1
  %part = f32[1,4]{1,0} fusion(%x, %i), kind=kLoop, calls=%fused_part
  ROOT %next = (s32[], f32[8,4]{1,0}) tuple(%i, %x)
}

%test (carry.1: (s32[], f32[8,4])) -> pred[] {
  %carry.1 = (s32[], f32[8,4]{1,0}) parameter(0)
  ROOT %go = pred[] constant(true)
}

ENTRY %main (a: f32[8,4], w: f32[4096,1024], y: bf16[2,6,6,8]) -> f32[8,4] {
  %a = f32[8,4]{1,0} parameter(0)
  %w = f32[4096,1024]{1,0} parameter(1)
  %y = bf16[2,6,6,8]{3,2,1,0} parameter(2)
  %turn = bf16[1024,4096]{1,0} fusion(%w), kind=kInput, calls=%fused_turn
  %conv = (bf16[2,6,6,8]{3,2,1,0}, u8[0]{0}) custom-call(%y, %turn), @CUDNN
  %sum-start = f32[8,4]{1,0} all-reduce-start(%a), to_apply=%test
  %more = f32[8,4]{1,0} add(%a, %a)
  %sum = f32[8,4]{1,0} all-reduce-done(%sum-start)
  %start = (s32[], f32[8,4]{1,0}) tuple(%sum, %more)
  %loop = (s32[], f32[8,4]{1,0}) while(%start), condition=%test, body=%body, @FIVE
  %scattered = f32[8,4]{1,0} scatter(%a, %a, %a), to_apply=%test, @NAME
  ROOT %end = f32[8,4]{1,0} get-tuple-element(%loop), index=1
}
"""
REST = {
    "@CUDNN": 'custom_call_target="__cudnn$convForward"',
    "@FIVE": 'backend_config={"known_trip_count":{"n":"5"}}',
    "@NAME": 'metadata={op_name="jit(step)/scatter"}',
}
for short, long in REST.items():
    TEXT = TEXT.replace(short, long)


def test_kernels_bytes_copies_and_what_is_sent():
    found = hlo.analysed(TEXT)
    assert found.kernels["convert and transpose"] == 1
    assert found.kernels["cuDNN convolution"] == 1
    # One slice per iteration of the loop, not the whole array.
    assert found.kernels["elementwise"] == 5
    assert found.moved - found.outside == 5 * (16 + 4 + 16)
    turned, maps, row = 4096 * 1024 * (4 + 2), 2 * 2 * 6 * 6 * 8 * 2, 8 * 4 * 4
    assert found.copies == turned
    assert found.types == {"bf16": 1}
    convolved = maps + 4096 * 1024 * 2
    assert found.outside == turned + convolved + 2 * row + 3 * row + 4 * row
    assert found.sent == {"all-reduce": row / 2}
    assert found.hidden == row / 2
    assert found.scatters == {"jit(step)/scatter": 1}


def test_sizes():
    assert hlo.size("f32[2,3]{1,0}") == 24
    assert hlo.size("(bf16[4]{0}, u8[0]{0}, /*index=2*/pred[])") == 9
