"""What the standard says of operators that the engine lowers: inputs, outputs, attributes.

One operator a line, one line a version that changed something:

    Gemm 11 2 xx? 1 x alpha:f beta:f transA:i transB:i
    |    |  | |   | |  `attributes: f float, i int, s string, t tensor, F, I, S lists, - others;
    |    |  | |   | |   ! after those that must be there
    |    |  | |   | `outputs, as inputs
    |    |  | |   `least number of outputs
    |    |  | `inputs: x needed, ? may be left out, * any number, - none
    |    |  `least number of inputs
    |    `since this version of the standard
    `operator

A test compares every line with onnx.defs; versions that no model of opset 7 or later uses are
left out.
"""

__all__ = ["NEWEST_IR_VERSION", "NEWEST_OPSET", "TABLE"]

NEWEST_OPSET = 28
"""The newest operator set that the table knows."""

NEWEST_IR_VERSION = 14
"""The newest version of the file format that has no field unknown here."""

TABLE = """
Abs 6 1 x 1 x
Add 7 2 xx 1 x
And 7 2 xx 1 x
ArgMax 1 1 x 1 x axis:i keepdims:i
ArgMax 12 1 x 1 x axis:i keepdims:i select_last_index:i
AveragePool 7 1 x 1 x auto_pad:s count_include_pad:i kernel_shape:I! pads:I strides:I
AveragePool 10 1 x 1 x auto_pad:s ceil_mode:i count_include_pad:i kernel_shape:I! pads:I
  strides:I
AveragePool 19 1 x 1 x auto_pad:s ceil_mode:i count_include_pad:i dilations:I kernel_shape:I!
  pads:I strides:I
BatchNormalization 7 5 xxxxx 1 x???? epsilon:f momentum:f spatial:i
BatchNormalization 9 5 xxxxx 1 x???? epsilon:f momentum:f
BatchNormalization 14 5 xxxxx 1 x?? epsilon:f momentum:f training_mode:i
Cast 6 1 x 1 x to:i!
Cast 19 1 x 1 x saturate:i to:i!
Cast 24 1 x 1 x round_mode:s saturate:i to:i!
Ceil 6 1 x 1 x
Celu 12 1 x 1 x alpha:f
Clip 6 1 x 1 x max:f min:f
Clip 11 1 x?? 1 x
Concat 4 1 * 1 x axis:i!
Constant 1 0 - 1 x value:t!
Constant 11 0 - 1 x sparse_value:- value:t
Constant 12 0 - 1 x sparse_value:- value:t value_float:f value_floats:F value_int:i value_ints:I
  value_string:s value_strings:S
ConstantOfShape 9 1 x 1 x value:t
Conv 1 2 xx? 1 x auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I
ConvInteger 10 2 xx?? 1 x auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I
ConvTranspose 1 2 xx? 1 x auto_pad:s dilations:I group:i kernel_shape:I output_padding:I
  output_shape:I pads:I strides:I
Cos 7 1 x 1 x
DepthToSpace 1 1 x 1 x blocksize:i!
DepthToSpace 11 1 x 1 x blocksize:i! mode:s
DequantizeLinear 10 2 xx? 1 x
DequantizeLinear 13 2 xx? 1 x axis:i
DequantizeLinear 21 2 xx? 1 x axis:i block_size:i
DequantizeLinear 23 2 xx? 1 x axis:i block_size:i output_dtype:i
Div 7 2 xx 1 x
Dropout 7 1 x 1 x? ratio:f
Dropout 12 1 x?? 1 x? seed:i
DynamicQuantizeLinear 11 1 x 3 xxx
Elu 6 1 x 1 x alpha:f
Equal 7 2 xx 1 x
Erf 9 1 x 1 x
Exp 6 1 x 1 x
Expand 8 2 xx 1 x
Flatten 1 1 x 1 x axis:i
Floor 6 1 x 1 x
Gather 1 2 xx 1 x axis:i
Gelu 20 1 x 1 x approximate:s
Gemm 7 3 xxx 1 x alpha:f beta:f transA:i transB:i
Gemm 11 2 xx? 1 x alpha:f beta:f transA:i transB:i
GlobalAveragePool 1 1 x 1 x
GlobalMaxPool 1 1 x 1 x
Greater 7 2 xx 1 x
GroupNormalization 18 deprecated
GroupNormalization 21 3 xxx 1 x epsilon:f num_groups:i! stash_type:i
HardSigmoid 6 1 x 1 x alpha:f beta:f
HardSwish 14 1 x 1 x
Identity 1 1 x 1 x
InstanceNormalization 6 3 xxx 1 x epsilon:f
LayerNormalization 17 2 xx? 1 x?? axis:i epsilon:f stash_type:i
LeakyRelu 6 1 x 1 x alpha:f
Less 7 2 xx 1 x
Log 6 1 x 1 x
LogSoftmax 1 1 x 1 x axis:i
MatMul 1 2 xx 1 x
MatMulInteger 10 2 xx?? 1 x
Max 6 1 * 1 x
MaxPool 1 1 x 1 x auto_pad:s kernel_shape:I! pads:I strides:I
MaxPool 8 1 x 1 x? auto_pad:s kernel_shape:I! pads:I storage_order:i strides:I
MaxPool 10 1 x 1 x? auto_pad:s ceil_mode:i dilations:I kernel_shape:I! pads:I storage_order:i
  strides:I
Mean 6 1 * 1 x
Min 6 1 * 1 x
Mish 18 1 x 1 x
Mul 7 2 xx 1 x
Neg 6 1 x 1 x
Not 1 1 x 1 x
PRelu 6 2 xx 1 x
Pad 2 1 x 1 x mode:s pads:I! value:f
Pad 11 2 xx? 1 x mode:s
Pad 18 2 xx?? 1 x mode:s
Pow 7 2 xx 1 x
QLinearConv 10 8 xxxxxxxx? 1 x auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I
QLinearMatMul 10 8 xxxxxxxx 1 x
QuantizeLinear 10 2 xx? 1 x
QuantizeLinear 13 2 xx? 1 x axis:i
QuantizeLinear 19 2 xx? 1 x axis:i saturate:i
QuantizeLinear 21 2 xx? 1 x axis:i block_size:i output_dtype:i saturate:i
QuantizeLinear 23 2 xx? 1 x axis:i block_size:i output_dtype:i precision:i saturate:i
Range 11 3 xxx 1 x
Range 27 3 xxx 1 x stash_type:i
Reciprocal 6 1 x 1 x
ReduceMax 1 1 x 1 x axes:I keepdims:i
ReduceMax 18 1 x? 1 x keepdims:i noop_with_empty_axes:i
ReduceMean 1 1 x 1 x axes:I keepdims:i
ReduceMean 18 1 x? 1 x keepdims:i noop_with_empty_axes:i
ReduceMin 1 1 x 1 x axes:I keepdims:i
ReduceMin 18 1 x? 1 x keepdims:i noop_with_empty_axes:i
ReduceSum 1 1 x 1 x axes:I keepdims:i
ReduceSum 13 1 x? 1 x keepdims:i noop_with_empty_axes:i
ReduceSumSquare 1 1 x 1 x axes:I keepdims:i
ReduceSumSquare 18 1 x? 1 x keepdims:i noop_with_empty_axes:i
Relu 6 1 x 1 x
Reshape 5 2 xx 1 x
Reshape 14 2 xx 1 x allowzero:i
Resize 10 2 xx 1 x mode:s
Resize 11 3 xxx? 1 x coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i
  extrapolation_value:f mode:s nearest_mode:s
Resize 13 1 x??? 1 x coordinate_transformation_mode:s cubic_coeff_a:f exclude_outside:i
  extrapolation_value:f mode:s nearest_mode:s
Resize 18 1 x??? 1 x antialias:i axes:I coordinate_transformation_mode:s cubic_coeff_a:f
  exclude_outside:i extrapolation_value:f keep_aspect_ratio_policy:s mode:s nearest_mode:s
ReverseSequence 10 2 xx 1 x batch_axis:i time_axis:i
Round 11 1 x 1 x
Selu 6 1 x 1 x alpha:f gamma:f
Shape 1 1 x 1 x
Shape 15 1 x 1 x end:i start:i
Sigmoid 6 1 x 1 x
Sign 9 1 x 1 x
Sin 7 1 x 1 x
Size 1 1 x 1 x
Slice 1 1 x 1 x axes:I ends:I! starts:I!
Slice 10 3 xxx?? 1 x
Softmax 1 1 x 1 x axis:i
Softplus 1 1 x 1 x
Softsign 1 1 x 1 x
SpaceToDepth 1 1 x 1 x blocksize:i!
SpaceToDepth 28 1 x 1 x blocksize:i! mode:s
Split 2 1 x 1 * axis:i split:I
Split 13 1 x? 1 * axis:i
Split 18 1 x? 1 * axis:i num_outputs:i
Sqrt 6 1 x 1 x
Squeeze 1 1 x 1 x axes:I
Squeeze 13 1 x? 1 x
Sub 7 2 xx 1 x
Sum 6 1 * 1 x
Swish 24 1 x 1 x alpha:f
Tanh 6 1 x 1 x
ThresholdedRelu 10 1 x 1 x alpha:f
Tile 6 2 xx 1 x
Transpose 1 1 x 1 x perm:I
Unsqueeze 1 1 x 1 x axes:I!
Unsqueeze 13 2 xx 1 x
Upsample 7 1 x 1 x mode:s scales:F!
Upsample 9 2 xx 1 x mode:s
Upsample 10 deprecated
Where 9 3 xxx 1 x
"""
