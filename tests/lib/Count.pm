# SPDX-License-Identifier: MIT
#
# prove's harness with one line more at the end: how many tests passed and how many failed. A
# program that ended badly without a failed test of its own (a crash, a missing plan) counts as
# one failure.
package Count;

use strict;
use warnings;
use parent 'TAP::Harness';

sub summary {
    my ($self, $results) = @_;
    my $failed = 0;

    $self->SUPER::summary($results);
    for my $parser ($results->parsers($results->descriptions)) {
        my $bad = $parser->failed;
        $bad = 1 if !$bad && $parser->has_problems;
        $failed += $bad;
    }
    printf "%d passed, %d failed\n", scalar $results->passed, $failed;
    return;
}

1;
