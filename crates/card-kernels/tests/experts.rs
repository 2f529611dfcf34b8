//! Products with several matrices: each column has the bits that it has alone with its matrix.

#![allow(clippy::unwrap_used)] // A test may panic.

mod common;

use card_kernels::{Experts, Isa, Kind, Layout, Product, Strides};
use common::{Aligned, Matrix, Random, bits, columns, run, sets, weights};

const WIDTH: usize = 256;

/// What outputs are filled with beforehand, and what must be left of it.
const UNTOUCHED: u32 = 0x4640_e400;

/// Files of matrices alike.
struct Files {
    kind: Kind,
    height: usize,
    files: Vec<Vec<u8>>,
}

impl Files {
    fn new(kind: Kind, height: usize, count: usize, random: &mut Random) -> Files {
        let files = (0..count).map(|_| weights(kind, WIDTH, height, random));
        Files {
            kind,
            height,
            files: files.collect(),
        }
    }

    /// All matrices laid out, one behind the other.
    fn pack(&self, rows: usize) -> (Layout, Aligned) {
        let layout = Layout::new(self.kind, rows, WIDTH, self.height).unwrap();
        let mut memory = Aligned::new(layout.bytes() * self.files.len());
        let parts = memory.bytes_mut().chunks_exact_mut(layout.bytes());
        for (file, part) in self.files.iter().zip(parts) {
            layout.pack(file, part);
        }
        (layout, memory)
    }

    /// Bits of each column alone with each matrix, by the product without experts.
    fn alone(&self, x: &[Vec<f32>]) -> Vec<Vec<Vec<u32>>> {
        let one = |file: &Vec<u8>| {
            let matrix = Matrix::new(self.kind, 8, WIDTH, self.height, file);
            let each = x
                .iter()
                .map(|x| matrix.times(Isa::Portable, 1, std::slice::from_ref(x)));
            each.map(|y| bits(&y).remove(0)).collect()
        };
        self.files.iter().map(one).collect()
    }
}

/// Where columns are, in numbers of 4 bytes, and how long the memory is.
struct Places {
    steps: [usize; 3],
    length: usize,
}

impl Places {
    /// Columns of `size`, with gaps between them.
    fn new(size: usize, columns: [usize; 3], gaps: [usize; 3]) -> Places {
        let a = size + gaps[0];
        let b = a * columns[0] + gaps[1];
        let c = b * columns[1] + gaps[2];
        Places {
            steps: [a, b, c],
            length: c * columns[2],
        }
    }
    fn at(&self, place: [usize; 3]) -> usize {
        (0..3).map(|i| place[i] * self.steps[i]).sum()
    }
    fn strides(&self) -> Strides {
        Strides(self.steps.map(|n| 4 * n))
    }
}

fn each([a, b, c]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..a * b * c).map(move |j| [j % a, j / a % b, j / (a * b)])
}

/// A product with experts.
struct Case<'a> {
    columns: [usize; 3],
    experts: Experts,
    /// The matrix of a column, if it has one.
    expert: &'a dyn Fn([usize; 3]) -> Option<usize>,
    /// Whether all slots have the same activations.
    shared: bool,
}

impl Case<'_> {
    /// Runs it by every instruction set, with 1 to 5 threads.
    fn check(&self, name: &str, files: &Files, random: &mut Random) {
        let [slots, tokens, more] = self.columns;
        let mut from = Places::new(WIDTH, self.columns, [3, 8, 1]);
        let distinct = match self.shared {
            true => {
                from = Places::new(WIDTH, [1, tokens, more], [3, 0, 2]);
                from.steps[0] = 0;
                tokens * more
            }
            false => slots * tokens * more,
        };
        let x = columns(WIDTH, distinct, random);
        let alone = files.alone(&x);
        let which = |[a, b, c]: [usize; 3]| match self.shared {
            true => b + tokens * c,
            false => a + slots * (b + tokens * c),
        };
        let mut activations = vec![f32::NAN; from.length];
        for place in each(self.columns) {
            activations[from.at(place)..][..WIDTH].copy_from_slice(&x[which(place)]);
        }
        let to = Places::new(files.height, self.columns, [1, 2, 5]);
        let mut right = vec![UNTOUCHED; to.length];
        for place in each(self.columns) {
            if let Some(e) = (self.expert)(place) {
                right[to.at(place)..][..files.height].copy_from_slice(&alone[e][which(place)]);
            }
        }
        for rows in [8, 16] {
            let (layout, memory) = files.pack(rows);
            for isa in sets(rows) {
                // Plain Rust hands work out as the others do, and is slow.
                let most = match isa {
                    Isa::Portable => 2,
                    _ => 5,
                };
                for threads in 1..=most {
                    let mut y = vec![UNTOUCHED; to.length];
                    let product = Product {
                        layout,
                        weights: memory.bytes().as_ptr(),
                        from: activations.as_ptr().cast(),
                        from_strides: from.strides(),
                        to: y.as_mut_ptr().cast(),
                        to_strides: to.strides(),
                        columns: self.columns,
                        experts: Some(self.experts),
                    };
                    run(&product, isa, threads);
                    let kind = files.kind;
                    assert!(
                        y == right,
                        "{name}: {kind:?} {isa}, {rows} rows, {threads} threads"
                    );
                }
            }
        }
    }
}

/// Matrices by the ids of (slot, token), which lie in memory as the strides say.
fn chosen(
    name: &str,
    files: &Files,
    random: &mut Random,
    [slots, tokens]: [usize; 2],
    shared: bool,
    mut id: impl FnMut(&mut Random) -> i32,
) {
    let count = files.files.len();
    // Tokens apart by more than their slots; or the slots apart, the tokens side by side.
    for steps in [[1, slots + 2], [tokens + 1, 1]] {
        let mut ids = vec![i32::MIN; steps[0] * slots + steps[1] * tokens];
        for [slot, token, _] in each([slots, tokens, 1]) {
            ids[slot * steps[0] + token * steps[1]] = id(random);
        }
        let case = Case {
            columns: [slots, tokens, 1],
            experts: Experts::Chosen {
                count,
                ids: ids.as_ptr().cast(),
                strides: steps.map(|n| 4 * n),
            },
            expert: &|[slot, token, _]| {
                let id = ids[slot * steps[0] + token * steps[1]];
                usize::try_from(id).ok().filter(|&id| id < count)
            },
            shared,
        };
        case.check(name, files, random);
    }
}

#[test]
fn chosen_experts_give_each_column_what_it_has_alone() {
    let mut random = Random(11);
    for (i, kind) in Kind::ALL.into_iter().enumerate() {
        let height = [19, 8, 37][i % 3];
        let files = Files::new(kind, height, 5, &mut random);
        for shared in [false, true] {
            // The third one has no token, some columns have no matrix.
            let some = [0, 1, 3, 4, 1, 4, -1, 5, i32::MAX, i32::MIN];
            chosen("some", &files, &mut random, [3, 6], shared, |r| {
                some[r.below(some.len())]
            });
        }
    }
}

#[test]
fn one_expert_may_have_all_columns_or_none_may_have_any() {
    let mut random = Random(12);
    for kind in [Kind::F16, Kind::Q4_0, Kind::Q4_1, Kind::Q4K, Kind::Q6K] {
        let files = Files::new(kind, 21, 3, &mut random);
        for shared in [false, true] {
            chosen("all", &files, &mut random, [2, 13], shared, |_| 1);
            chosen("many", &files, &mut random, [3, 27], shared, |r| {
                [0, 0, 0, 1, 2][r.below(5)]
            });
            chosen("none", &files, &mut random, [2, 3], shared, |_| 3);
            chosen("one", &files, &mut random, [1, 1], shared, |_| 2);
        }
    }
}

#[test]
fn more_experts_than_columns_and_many_rows() {
    let mut random = Random(13);
    for kind in [Kind::Bf16, Kind::Q5K, Kind::Iq4Nl] {
        let files = Files::new(kind, 203, 16, &mut random);
        chosen("few", &files, &mut random, [4, 2], true, |r| {
            r.below(16) as i32
        });
    }
}

#[test]
fn matrices_in_turn_give_each_column_what_it_has_alone() {
    let mut random = Random(14);
    for (i, kind) in Kind::ALL.into_iter().enumerate() {
        let files = Files::new(kind, [21, 8, 35][i % 3], 3, &mut random);
        for (repeat, columns) in [(1, [1, 3, 1]), (1, [11, 3, 2]), (2, [5, 6, 2])] {
            let case = Case {
                columns,
                experts: Experts::InTurn { count: 3, repeat },
                expert: &|[_, token, _]| Some(token / repeat),
                shared: false,
            };
            case.check("in turn", &files, &mut random);
        }
    }
}
