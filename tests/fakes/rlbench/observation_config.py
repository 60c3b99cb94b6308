class Identity:
    """No noise."""


class CameraConfig:
    def __init__(
        self,
        rgb=True,
        rgb_noise=Identity(),
        depth=True,
        depth_noise=Identity(),
        point_cloud=True,
        mask=True,
        image_size=(128, 128),
        render_mode=Identity,
        masks_as_one_channel=True,
        depth_in_meters=False,
    ):
        self.rgb, self.rgb_noise = rgb, rgb_noise
        self.depth, self.depth_noise = depth, depth_noise
        self.point_cloud, self.mask = point_cloud, mask
        self.image_size, self.render_mode = image_size, render_mode
        self.masks_as_one_channel, self.depth_in_meters = masks_as_one_channel, depth_in_meters

    def set_all(self, value):
        self.rgb = self.depth = self.point_cloud = self.mask = value


class ObservationConfig:
    def __init__(
        self,
        left_shoulder_camera=None,
        right_shoulder_camera=None,
        overhead_camera=None,
        wrist_camera=None,
        front_camera=None,
        joint_velocities=True,
        joint_velocities_noise=Identity(),
        joint_positions=True,
        joint_positions_noise=Identity(),
        joint_forces=True,
        joint_forces_noise=Identity(),
        gripper_open=True,
        gripper_pose=True,
        gripper_matrix=False,
        gripper_joint_positions=False,
        gripper_touch_forces=False,
        wrist_camera_matrix=False,
        record_gripper_closing=False,
        task_low_dim_state=False,
    ):
        self.left_shoulder_camera = left_shoulder_camera or CameraConfig()
        self.right_shoulder_camera = right_shoulder_camera or CameraConfig()
        self.overhead_camera = overhead_camera or CameraConfig()
        self.wrist_camera = wrist_camera or CameraConfig()
        self.front_camera = front_camera or CameraConfig()
        self.low_dim = joint_velocities or joint_positions or joint_forces

    def set_all(self, value):
        self.set_all_high_dim(value)
        self.set_all_low_dim(value)

    def set_all_high_dim(self, value):
        for camera in self.cameras():
            camera.set_all(value)

    def set_all_low_dim(self, value):
        self.low_dim = value

    def cameras(self):
        return [value for name, value in vars(self).items() if name.endswith("_camera")]
