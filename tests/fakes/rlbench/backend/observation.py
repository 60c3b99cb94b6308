class Observation:
    def __init__(self, front_rgb):
        self.front_rgb = front_rgb
