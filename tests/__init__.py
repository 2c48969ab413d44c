"""Tests of orchestrator; a package so that its helpers have one name everywhere."""
