from launch.dev_cluster.nodes import up_since

TEXT = """\
NodeName=n1 Arch=x86_64 CoresPerSocket=8 State=IDLE ThreadsPerCore=1 SlurmdStartTime=1795260842 X=1
NodeName=n2 CoresPerSocket=8 State=MIXED+COMPLETING ThreadsPerCore=1 SlurmdStartTime=1795260843
NodeName=n3 CoresPerSocket=8 State=DOWN* ThreadsPerCore=1 SlurmdStartTime=1795260844
NodeName=n4 CoresPerSocket=8 State=MIXED* ThreadsPerCore=1 SlurmdStartTime=1795260844
NodeName=n5 CoresPerSocket=8 State=UNKNOWN ThreadsPerCore=1 SlurmdStartTime=None

"""


def test_nodes_that_answer():
    assert up_since(TEXT) == {"n1": 1795260842, "n2": 1795260843}
    assert up_since("") == {}
    assert up_since("slurm_load_node error: Unable to contact slurm controller\n") == {}


def test_a_node_that_never_registered_is_not_up():
    assert up_since("NodeName=n1 State=IDLE SlurmdStartTime=Unknown\n") == {}
