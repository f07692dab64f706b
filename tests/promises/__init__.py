"""The rig that proves the promises: everything is killed, nothing may be lost. See README.md."""
