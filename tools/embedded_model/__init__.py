"""A small flower classifier, where the embedded backbone begins: pictures, teacher, training, file.

How data flows:

    photos of the training part --+
                                  +--> views (crop, rotate) --> teacher --> map, features
    drawings (seeds >= 1000) -----+         |                                 |       |
                                            v                                 |  five heads
                                         student <-- match map and features --+       |
                                            ^--------- soft labels, out of fold ------+
                                            |
    moving average of its weights --> best epoch on the validation part --> ONNX built by hand
        --> onnxruntime on the test part: float accuracy, then 8-bit as a plausibility check

Each import goes to a module further down:

    report, train, export        the three stages after the views
    targets                      what the student is shown, and what it should answer
    soft_labels                  the five heads
    student, views               the network; augmented copies with the teacher's answers
    teacher                      what it sees in a picture
    inference                    onnxruntime on one thread
    photos, recipe, log          pictures; the numbers of a run; printing
"""
