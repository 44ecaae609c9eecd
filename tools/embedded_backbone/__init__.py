"""The general backbone that `q8tool retrain` takes when no --base is given: how it is made.

How data flows:

    photos of flowers (without the test part), photos of other things, drawings
        --> pictures --> views (crops, rotated) --> teacher --> map, features, class scores
                           |                                      |      |        |
                           +--> student <-------- match all three +------+--------+
                                   ^------------- and the class, where the picture is a flower
    moving average of its weights --> BatchNorm folded, weights as float16 --> ONNX

The student begins with the layers of `tools/embedded_model/flowers.onnx`, which came from random
weights. Of the teacher only answers are used, never weights. Photos, their
split, drawings and onnxruntime come from `embedded_model`; modules here, each importing further
down: export, training, student, views, pictures, recipe.
"""
