//! Things by number. A number that stands for nothing leads to a spare thing, so that a look-up cannot fail.

/// Numbers are used again.
#[derive(Debug, Default)]
pub(super) struct Slab<T> {
    things: Vec<T>,
    free: Vec<usize>,
    spare: T,
}

impl<T: Default> Slab<T> {
    pub(super) fn insert(&mut self, thing: T) -> usize {
        if let Some(number) = self.free.pop() {
            *self.at_mut(number) = thing;
            return number;
        }
        self.things.push(thing);
        self.things.len().saturating_sub(1)
    }

    pub(super) fn at(&self, number: usize) -> &T {
        self.things.get(number).unwrap_or(&self.spare)
    }

    pub(super) fn at_mut(&mut self, number: usize) -> &mut T {
        self.things.get_mut(number).unwrap_or(&mut self.spare)
    }

    /// Takes a thing out; it must be there.
    pub(super) fn remove(&mut self, number: usize) -> T {
        let thing = std::mem::take(self.at_mut(number));
        if number < self.things.len() {
            self.free.push(number);
        }
        thing
    }

    /// How many things there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.things.len() - self.free.len()
    }
}
